"""Tables E.1-1 and E.3.10-1 from DocBook of NEMA's form, and from what is not."""

import pytest

from gateway.deid import tables
from gateway.deid.importing import differences, import_tables
from gateway.errors import ConfigurationFault
from tests.fakes import part15


def imported(raw):
    return {one.label: one for one in import_tables(raw)}


def test_a_table_of_the_same_content_is_the_one_shipped():
    found = imported(part15.whole())["E.1-1"]
    rows = tables.read_profile(found.text.splitlines())

    assert (found.edition, found.rows, found.ignored) == ("2031b", 621, ())
    assert found.file_name == "e1-1-2031b.csv"
    assert rows == tables.load().profile
    assert "edition 2031b; 621 rows" in found.text.splitlines()[0]


def test_what_another_edition_changes_is_counted():
    rows = [row for row in part15.table_rows() if row[1] != "(0010,2180)"]
    rows.append(["New Thing", "(0010,9998)", "N", "Y", "X", *[""] * 10])
    next(row for row in rows if row[1] == "(0010,0040)")[4] = "X"
    new = imported(part15.document(part15.table("E.1-1", part15.HEADS, rows)))["E.1-1"]

    found = tables.read_profile(new.text.splitlines())

    assert differences(found, tables.load().profile) == {"added": 1, "removed": 1, "changed": 1}


def test_columns_are_found_by_their_heads_and_new_ones_are_named():
    rows = [[*row, "C"] for row in part15.table_rows()]
    swapped = [[row[1], row[0], *row[2:]] for row in rows]
    heads = ["Tag", "Attribute Name", *part15.HEADS[2:], "Clean Voice Opt."]

    found = imported(part15.document(part15.table("E.1-1", heads, swapped)))["E.1-1"]

    assert found.ignored == ("Clean Voice Opt.",)
    assert tables.read_profile(found.text.splitlines()) == tables.load().profile


def test_safe_private_attributes_are_known_by_creator_and_element(tmp_path):
    found = imported(part15.whole())["E.3.10-1"]
    path = tmp_path / found.file_name
    path.write_text(found.text, "utf-8")

    loaded = tables.load(tables.Sources(private=path))

    assert loaded.safe_private("GEMS_ACQU_01", 0x00191023).vr == "DS"
    assert loaded.safe_private("GEMS_ACQU_01", 0x0019AA23).meaning.startswith("Table Speed")
    assert loaded.safe_private("OTHER", 0x00191023) is None
    assert loaded.digest != tables.load().digest


def at(tag):
    return [row[1] for row in part15.table_rows()].index(tag)


LAUGHS = '<!DOCTYPE book [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'


def changed(index, column, value):
    rows = list(part15.table_rows())
    rows[index][column] = value
    return part15.document(part15.table("E.1-1", part15.HEADS, rows))


def short_row():
    rows = list(part15.table_rows())
    return part15.document(part15.table("E.1-1", part15.HEADS, [*rows, rows[0][:-1]]))


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "not XML, or was cut"),
        (part15.whole()[:-400], "was cut"),
        (b"<html/>", "which edition"),
        (part15.document(), "neither Table E.1-1 nor"),
        (part15.whole(edition="of May"), "which edition"),
        (part15.whole(opening=LAUGHS), "declares entities"),
        (part15.document(part15.table("E.1-1", part15.HEADS, [])), "only 0 rows"),
        (part15.document(part15.table("E.1-1", part15.HEADS[:-1], [])), "lacks the columns"),
        (changed(3, 4, "Q"), "unknown action"),
        (changed(3, 4, ""), "no action for"),
        (changed(3, 6, "X"), "neither keeps nor cleans"),
        (changed(3, 1, "(0008,00"), "has a row for"),
        (changed(3, 1, "(0010,0010)"), "two rows for"),
        (changed(at("(0010,0010)"), 4, "K"), "what every edition has"),
        (part15.whole().replace(b'colspan="1"', b'colspan="2"', 40), "span others"),
        (short_row(), "cells, not as its head"),
    ],
)
def test_what_is_not_the_standard_is_refused_in_one_sentence(raw, says):
    with pytest.raises(ConfigurationFault, match=r"not PS3\.15 as NEMA") as refused:
        import_tables(raw)

    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("cut", [1, 200, 2000])
def test_a_kept_table_that_was_cut_is_refused(tmp_path, cut):
    path = tmp_path / "e.csv"
    path.write_text(imported(part15.whole())["E.1-1"].text[:-cut], "utf-8")

    if cut == 1:  # the last line break
        assert tables.load(tables.Sources(profile=path)).profile
        return
    with pytest.raises(ConfigurationFault, match="are damaged"):
        tables.load(tables.Sources(profile=path))


def test_a_named_table_that_is_not_there_is_refused_by_its_path(tmp_path):
    with pytest.raises(ConfigurationFault, match=r"gone\.csv"):
        tables.load(tables.Sources(private=tmp_path / "gone.csv"))
