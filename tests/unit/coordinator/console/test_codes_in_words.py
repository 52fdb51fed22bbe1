"""Every closed word that a hospital may say about a job is a sentence here, in both languages."""

from importlib.resources import files
from io import BytesIO

import pytest
from babel.messages.pofile import read_po

from coordinator.console.codes import CODES, in_words
from coordinator.console.reasons import reason_in_words
from coordinator.evaluation.report import DISCLOSURE, DISCLOSURE_OF_A_SUM, UNSCORED, WITHIN
from coordinator.model import JobStage
from coordinator.training.outcomes import REPORT, UPDATE
from coordinator.training.sum_driver import FULL, LATE
from gateway.desk.rules import OUTCOME_CODES
from protos.evaluation import Design, Endpoint
from protos.job_manifest import Comparison, Kind
from protos.pages import languages

# Of questions alone, which the pages of jobs never show.
OF_QUESTIONS = {
    "questions_disabled", "field_refused", "unknown_field", "unknown_unit", "unknown_operator",
    "unknown_value", "value_count", "too_many_predicates", "too_many_groups", "repeated_group",
    "unknown_tier", "public_tables_disabled", "no_public_table", "exact_patients_only",
    "exact_needs_signatures", "project_not_signed_off", "exact_audit", "audit_too_large",
    "snapshot_outdated", "site_budget", "requester_budget",
}  # fmt: skip


@pytest.fixture(scope="module")
def spoken():
    return languages.load("coordinator.console")


def test_every_code_has_a_sentence(spoken):
    said = {str(code) for code in OUTCOME_CODES} - OF_QUESTIONS

    told = {UPDATE, REPORT, LATE, FULL, "no_report", "other_protocol"}
    assert said | told == CODES.keys()
    for language in spoken.values():
        assert set(CODES.values()) <= language.catalogue.keys()


def test_a_code_keeps_the_name_it_is_about():
    assert in_words("import_missing:monai")[1] == "monai"
    assert in_words("of_a_newer_gateway") == ("", "")


def test_every_word_of_the_rooms_is_in_the_catalogues(spoken):
    words = {*JobStage, *Kind, *Comparison, *Endpoint, *Design, *UNSCORED, *WITHIN.values()}

    for language in spoken.values():
        assert {str(word) for word in words} | {
            DISCLOSURE,
            DISCLOSURE_OF_A_SUM,
        } <= language.catalogue.keys()


@pytest.mark.parametrize(
    ("said", "english", "chinese"),
    [
        ("stopped by anna", "stopped by anna", "由 anna 停止"),
        ("round 2: 1 of 3 needed updates arrived",) * 2
        + ("第 2 轮：需要 3 份更新，实际到达 1 份",),
        ("of a later version 100 %",) * 3,
    ],
)
def test_why_a_job_ended_is_said_in_each_language(spoken, said, english, chinese):
    assert reason_in_words(said, spoken["en"]) == english
    assert reason_in_words(said, spoken["zh-CN"]) == chinese


@pytest.mark.parametrize("tag", languages.TAGS)
def test_no_text_is_translated_in_two_ways(tag):
    """Groups of pages have catalogues of their own: which is read last must not matter."""
    said = {}
    for package in ("coordinator.console", "protos.pages"):
        for file in (files(package) / "locale").iterdir():
            if file.name.endswith(f"{tag.replace('-', '_')}.po"):
                for one in read_po(BytesIO(file.read_bytes())):
                    said.setdefault(one.id, set()).add(one.string)
    said.pop("")

    assert {text: ways for text, ways in said.items() if len(ways) > 1} == {}
