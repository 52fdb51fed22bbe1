"""PS3.15 in the form NEMA publishes it in DocBook, written from our own table."""

import csv
from importlib import resources
from xml.sax.saxutils import escape

HEADS = (
    "Attribute Name", "Tag", "Retd. (from PS3.6)", "In Std. Comp. IOD (from PS3.3)",
    "Basic Prof.", "Rtn. Safe Priv. Opt.", "Rtn. UIDs Opt.", "Rtn. Dev. Id. Opt.",
    "Rtn. Inst. Id. Opt.", "Rtn. Pat. Chars. Opt.", "Rtn. Long. Full Dates Opt.",
    "Rtn. Long. Modif. Dates Opt.", "Clean Desc. Opt.", "Clean Struct. Cont. Opt.",
    "Clean Graph. Opt.",
)  # fmt: skip
PRIVATE_HEADS = ("Data Element", "Private Creator", "VR", "VM", "Meaning")
PRIVATE_ROWS = (
    ("(7053,xx00)", "Philips PET Private Group", "DS", "1", "SUV Factor"),
    ("(0019,xx23)", "GEMS_ACQU_01", "DS", "1", "Table Speed [mm/rotation]"),
    ("(0019,xx0C)", "SIEMENS MR HEADER", "IS", "1", "B Value"),
    ("(0019,xx0D)", "SIEMENS MR HEADER", "CS", "1", "Diffusion Directionality"),
    ("(0029,xx10)", "ACME SAFE", "LO", "1", "Filter name"),
    ("(0029,xx11)", "ACME SAFE", "DA", "1", "Detector exposed on"),
    ("(0029,xx12)", "ACME SAFE", "UI", "1", "Raw data"),
    ("(0029,xx13)", "ACME SAFE", "OB", "1", "Header"),
    ("(0029,xx14)", "ACME SAFE", "US", "1-n", "Gains"),
    *((f"(0031,xx{number:02X})", "ACME MORE", "FD", "1", f"Gain {number}") for number in range(16)),
)


def table_rows():
    text = (resources.files("gateway.deid") / "profile.csv").read_text("utf-8")
    found = csv.reader(line for line in text.splitlines() if not line.startswith("#"))
    next(found)
    for tag, name, in_iod, *codes in found:
        yield [name, tag, "N", in_iod, *codes]


def table(label, heads, rows, *, split=True):
    """An HTML-model table: every cell a paragraph, long words with soft breaks in them."""

    def cell(kind, text):
        said = escape(text)
        if split and len(said) > 20:
            said = said[:10] + "\u200b" + said[10:]
        inside = f'<para xml:id="para_{abs(hash(text))}">{said}</para>' if text else "<para/>"
        return f'<{kind} align="left" colspan="1" rowspan="1">{inside}</{kind}>'

    head = "".join(cell("th", text) for text in heads)
    body = "".join(
        f'<tr valign="top">{"".join(cell("td", text) for text in row)}</tr>\n' for row in rows
    )
    return (
        f'<table frame="box" label="{label}" rules="all" xml:id="table_{label}">'
        f"<caption>Of the {label}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def document(*tables, edition="2031b", opening=""):
    return (
        f'<?xml version="1.0" encoding="utf-8" standalone="no"?>{opening}'
        '<book xmlns="http://docbook.org/ns/docbook" version="5.0" label="PS3.15">'
        "<title>PS3.15</title>"
        f"<subtitle>DICOM PS3.15 {edition} - Security and System Management Profiles</subtitle>"
        f"<chapter><title>Annex E</title>{''.join(tables)}"
        '<table label="E.1-1a"><caption>Codes</caption><thead><tr><th>Code</th></tr></thead>'
        "<tbody><tr><td>D</td></tr></tbody></table></chapter></book>"
    ).encode()


def whole(**how):
    return document(
        table("E.1-1", HEADS, table_rows()), table("E.3.10-1", PRIVATE_HEADS, PRIVATE_ROWS), **how
    )
