"""Tables E.1-1 and E.3.10-1 from NEMA's DocBook of PS3.15, checked and spelt as ours are."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO

from gateway.deid import docbook, tables
from gateway.errors import ConfigurationFault

PROFILE, PRIVATE = "E.1-1", "E.3.10-1"
FEWEST = {PROFILE: 500, PRIVATE: 20}  # fewer rows: the document was cut
# How the heads begin once all but letters is gone; `Retd.` says nothing to us.
PROFILE_HEADS = {
    "attributename": "name",
    "tag": "tag",
    "instdcompiod": "in_iod",
    "basicprof": "basic",
    "rtnsafeprivopt": "retain_safe_private",
    "rtnuidsopt": "retain_uids",
    "rtndevidopt": "retain_device_identity",
    "rtninstidopt": "retain_institution_identity",
    "rtnpatcharsopt": "retain_patient_characteristics",
    "rtnlongfulldatesopt": "retain_longitudinal_full_dates",
    "rtnlongmodifdatesopt": "retain_longitudinal_modified_dates",
    "cleandescopt": "clean_descriptors",
    "cleanstructcontopt": "clean_structured_content",
    "cleangraphopt": "clean_graphics",
}
PRIVATE_HEADS = {
    "dataelement": "tag",
    "privatecreator": "creator",
    "vr": "vr",
    "vm": "vm",
    "meaning": "meaning",
}
UNREAD = ("retd",)
TAG = re.compile(r"\((?:[0-9A-F]{4}|[56]0XX),(?:[0-9A-F]{4}|XXXX)\)|\(GGGG,EEEE\) WHERE .*ODD")
# Without these it is another table, whatever its name.
ANCHORS = {"(0010,0010)": "Z", "(0008,0018)": "U", "(0008,0090)": "Z"}


@dataclass(frozen=True, slots=True)
class Imported:
    """One table as it is kept: the file's text, and what it holds."""

    label: str
    edition: str
    rows: int
    text: str
    ignored: tuple[str, ...]  # columns this version does not know

    @property
    def file_name(self) -> str:
        return f"{'e1-1' if self.label == PROFILE else 'safe-private'}-{self.edition}.csv"


def import_tables(raw: bytes) -> list[Imported]:
    """Read what PS3.15 has of the two; ConfigurationFault says what is wrong with the file."""
    try:
        document = docbook.read(raw, (PROFILE, PRIVATE))
        if not document.tables:
            raise docbook.NotDocBook(f"it has neither Table {PROFILE} nor Table {PRIVATE}")
        return [
            _imported(label, document.edition, table)
            for label, table in sorted(document.tables.items())
        ]
    except ValueError as fault:
        raise ConfigurationFault(
            f"this is not PS3.15 as NEMA publishes it in DocBook: {fault}"
        ) from fault


def differences(new: Mapping[int, tables.Row], old: Mapping[int, tables.Row]) -> dict[str, int]:
    """Count what another edition says otherwise."""
    both = new.keys() & old.keys()
    changed = (
        tag
        for tag in both
        if (new[tag].basic, new[tag].options) != (old[tag].basic, old[tag].options)
    )
    return {
        "added": len(new.keys() - old.keys()),
        "removed": len(old.keys() - new.keys()),
        "changed": sum(1 for _ in changed),
    }


def _imported(label: str, edition: str, table: docbook.Table) -> Imported:
    heads = PROFILE_HEADS if label == PROFILE else PRIVATE_HEADS
    columns, ignored = _columns(label, table.heads, heads)
    entries = [{name: row[at] for name, at in columns.items()} for row in table.rows if any(row)]
    if len(entries) < FEWEST[label]:
        raise docbook.NotDocBook(f"Table {label} has only {len(entries)} rows: it was cut")
    entries = list(_spelt(label, entries))
    wanted = tuple(tables.COLUMNS.values()) if label == PROFILE else tuple(PRIVATE_HEADS.values())
    source = f"# PS3.15 Table {label}, NEMA DocBook; edition {edition}; {len(entries)} rows"
    text = "\n".join([source, *_lines(wanted, entries)]) + "\n"
    lines = text.splitlines()
    if label == PROFILE:
        tables.read_profile(lines)
    else:
        tables.read_private(lines)
    return Imported(label, edition, len(entries), text, ignored)


def _columns(
    label: str, heads: Sequence[str], known: Mapping[str, str]
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Find the columns by what their heads begin with: their order has changed before."""
    found: dict[str, int] = {}
    ignored = []
    for at, head in enumerate(heads):
        letters = re.sub(r"[^a-z]", "", head.lower())
        name = next((known[start] for start in known if letters.startswith(start)), None)
        if name is not None and name not in found:
            found[name] = at
        elif not letters.startswith(UNREAD):
            ignored.append(head)
    if missing := sorted(set(known.values()) - set(found)):
        raise docbook.NotDocBook(f"Table {label} lacks the columns {', '.join(missing)}")
    return found, tuple(ignored)


def _spelt(label: str, entries: Iterable[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Spell rows as ours are, and refuse what no row of the standard is."""
    seen: dict[str, str] = {}
    for entry in entries:
        tag = entry["tag"].upper()
        if label == PROFILE:
            if not TAG.fullmatch(tag):
                raise docbook.NotDocBook(f"Table {label} has a row for {entry['tag'][:20]!r}")
            if not entry["basic"]:
                raise docbook.NotDocBook(f"Table {label} has no action for {tag}")
            if tag in seen:
                raise docbook.NotDocBook(f"Table {label} has two rows for {tag}")
            seen[tag] = entry["basic"]
            tag = tag.replace("GGGG,EEEE", "gggg,eeee")
        yield entry | {"tag": tag}
    if label == PROFILE and any(seen.get(tag) != code for tag, code in ANCHORS.items()):
        raise docbook.NotDocBook(f"Table {label} does not begin with what every edition has")


def _lines(columns: Sequence[str], entries: Iterable[Mapping[str, str]]) -> Iterator[str]:
    yield ",".join(columns)
    for entry in sorted(entries, key=lambda entry: entry["tag"]):
        line = StringIO()
        csv.writer(line, lineterminator="").writerow([entry[column] for column in columns])
        yield line.getvalue()
