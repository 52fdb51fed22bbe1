"""What commands print of names that somebody else chose."""

import json
import os

from gateway.cli.report import print_json, report, report_table

HOSTILE = ["\x1b[31mred", "two\nlines", os.fsdecode(b"\xff\xfe.dcm")]


def test_a_name_cannot_steer_the_terminal(capsys):
    report({"path": HOSTILE}, as_json=False)
    report_table([{"path": name} for name in HOSTILE], ["path"], as_json=False, empty="")

    said = capsys.readouterr().out
    assert "\\x1b[31mred" in said
    assert "two\\nlines" in said
    assert not set(said) - set(map(chr, range(32, 127))) - {"\n"}


def test_a_name_that_is_no_text_is_still_a_document(capsys):
    print_json({"path": HOSTILE})

    said = capsys.readouterr().out
    said.encode("utf-8")  # no half of a pair is left in it
    assert json.loads(said)["path"] == HOSTILE
