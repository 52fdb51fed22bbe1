"""The conformance tables say what the code does: they are made from the same tables."""

import json
import re

import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from typer.testing import CliRunner

from gateway.app.conformance import as_html, as_markdown, statement
from gateway.cli import gateway
from gateway.config import Intake
from gateway.deid.profile import load_profile, shipped_names
from gateway.deid.rules import Rulebook
from gateway.intake.rules import Admission


@pytest.fixture(scope="module")
def sections():
    return {section.title: section for section in statement(None)}


def rows(section):
    return [dict(zip(section.columns, row, strict=True)) for row in section.rows]


def test_every_class_and_syntax_named_is_taken_and_no_other(sections):
    admission = Admission(Intake())
    classes = [row["UID"] for row in rows(sections["Storage SOP Classes"])]
    syntaxes = {row["UID"]: row["In an association"] for row in rows(sections["Transfer Syntaxes"])}

    for uid, said in syntaxes.items():
        taken = all(admission.takes(one.encode(), uid.encode()) for one in classes)
        assert taken == (said == "accepted"), uid
    assert len(classes) > 150


@pytest.mark.parametrize("name", shipped_names())
def test_every_action_named_is_the_rulebooks(sections, name):
    profile = load_profile(name)
    rulebook = Rulebook(profile)
    said = {row["Tag"]: row[name] for row in rows(sections["Actions by Attribute"])}
    assert len(said) >= 617
    iods = profile.tables.iods
    compared = 0
    for iod in ("ct-image", "mr-image", "enhanced-sr", "segmentation", "rt-dose"):
        for tag, of_type in iods.root(iod).items():
            place = f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
            if place not in said:
                continue
            vr = dictionary_VR(tag).split(" or ")[0]
            does = rulebook.decide(iod, None, tag, vr).action
            choices = said[place].split(" / ")
            at = {"1": 0, "1C": 0, "2": 1, "2C": 1}.get(of_type, 2)
            assert choices[at if len(choices) > 1 else 0] == does, (iod, place)
            compared += 1
    assert compared > 200


def test_options_and_exceptions_are_the_profiles(sections):
    options = {row["Switch"]: row for row in rows(sections["Options"])}
    strict = load_profile("research-strict")

    for switch in filter(None, options):
        assert (options[switch]["research-strict"] == "yes") == getattr(strict.options, switch)
    more = {r["Attribute"] for r in rows(sections["Exceptions"])
            if r["Profile"] == "research-strict" and r["Leaves more"]}  # fmt: skip
    assert more == {"PatientSex", "PatientAge"}
    assert {r["Attribute"] for r in rows(sections["Exceptions"])
            if r["Profile"] == "research-strict"} == set(strict.attributes)  # fmt: skip
    assert tag_for_keyword("PatientSex")


def test_both_forms_hold_every_row(sections):
    markdown, html = as_markdown(list(sections.values())), as_html(list(sections.values()))
    total = sum(len(section.rows) for section in sections.values())

    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert len(lines) == total + 2 * len(sections)
    assert html.count("<tr>") == total + len(sections)
    assert not re.search(r"https?://|src=", html)


def test_the_command_needs_no_settings_and_says_it_in_three_forms(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke

    assert json.loads(run(gateway, ["conformance", "--json"]).stdout)[0]["rows"]
    assert run(gateway, ["conformance"]).stdout.startswith("# DICOM conformance")
    assert run(gateway, ["conformance", "--out", "c.html"]).exit_code == 0
    assert (tmp_path / "c.html").read_text().startswith("<!doctype html>")
    assert run(gateway, ["conformance", "--out", "c.pdf"]).exit_code == 4
