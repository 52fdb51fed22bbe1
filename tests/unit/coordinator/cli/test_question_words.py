"""How a question, its price and its refusals are put into words."""

from io import StringIO

import pytest
from rich.console import Console

from coordinator.api.parse import parse_question
from coordinator.cli.answers import document, draw, progress
from coordinator.cli.cures import CURES, cure
from coordinator.cli.explaining import cost_document, widened
from coordinator.federation.rules import total
from gateway.cohort.rules import canonical, cost
from gateway.policy import Policy, exact
from gateway.release.rules import Rule
from protos.price import DEFAULT_TERMS
from protos.signatures import Distrust
from protos.v1.question_pb2 import Answer, AnswerState, Cell, Question, Tier

OF_JOBS = {"jobs_disabled", "too_few_reviews", "terms_differ", "chain_broken"}
VALUE = AnswerState.ANSWER_STATE_VALUE


def words_of_questions():
    listed = list(Rule)
    asked = set(listed[: listed.index(Rule.JOBS_DISABLED)]) | set(Distrust)
    return sorted(str(word) for word in asked - OF_JOBS)


@pytest.mark.parametrize("word", words_of_questions())
def test_every_word_a_hospital_refuses_a_question_with_has_a_cure(word):
    assert word in CURES
    assert len(cure("REFUSED_POLICY", word)) > 15


def test_who_is_away_and_who_is_newer_than_this_house_is_told_what_to_do():
    assert "--deadline" in cure("OFFLINE", "")
    assert "updated" in cure("REFUSED_POLICY", "a_word_of_tomorrow")
    assert cure("VALUE", "") == ""


@pytest.mark.parametrize("unit", DEFAULT_TERMS)
@pytest.mark.parametrize("by", [[], ["PatientSex"], ["Modality", "StudyYear"]])
def test_the_price_explained_is_the_price_charged(unit, by):
    question = parse_question("", by, unit)
    policy = Policy()
    own = policy.patients() if unit == "patients" else getattr(policy.questions, unit)

    explained = cost_document(question, unit)

    charged = cost(canonical(question), own.contribution, exact(own.sigma))
    assert explained["rho"] == float(charged)
    assert explained["cells"] == len(canonical(question).cells)


def test_the_other_tiers_cost_nothing_and_say_why():
    for tier, words in ((Tier.TIER_EXACT, "outside differential"), (Tier.TIER_PUBLIC, "free")):
        told = cost_document(Question(unit=1, tier=tier), "patients")
        assert told["rho"] == 0
        assert words in told["cost"]


def test_a_number_between_two_edges_is_said_to_be_widened():
    where = parse_question("PatientAge > 53 and SliceThickness <= 1.0", [], "patients").where

    assert widened(where) == ["PatientAge 53 is no edge: all of 50-60 counts"]


def given(**answers):
    question = parse_question("", ["PatientSex"], "patients")
    return question, answers, total("q", answers.values(), len(answers))


def test_the_document_names_who_is_in_no_sum_and_why(capsys):
    told = given(
        alpha=Answer(
            state=VALUE,
            sigma=10,
            cells=[
                Cell(values=["F"], state=VALUE, count=40),
                Cell(values=["M"], state=AnswerState.ANSWER_STATE_BELOW_THRESHOLD),
            ],
        ),
        beta=Answer(state=VALUE, sigma=10, cells=[Cell(values=["M"], state=VALUE, count=20)]),
        old=Answer(state=AnswerState.ANSWER_STATE_NOT_SUPPORTED, rule="unknown_unit"),
        away=Answer(state=AnswerState.ANSWER_STATE_OFFLINE),
    )

    found = document(*told)
    draw(*told)

    (women, men) = found["total"]["cells"]
    assert (women["count"], women["sites"], women["hidden"]) == (40, 1, 0)
    assert (men["count"], men["sites"], men["hidden"]) == (20, 1, 1)
    assert [each["site"] for each in found["not_in_the_sum"]] == ["away", "old"]
    drawn = capsys.readouterr().out
    assert "not in the sum: old NOT_SUPPORTED (unknown_unit): its gateway is older" in drawn
    assert "40 ± 20" in drawn


def test_the_live_table_counts_what_came_and_names_who_refused():
    answers = {f"h{n:03}": Answer(state=VALUE) for n in range(399)}
    answers["beta"] = Answer(state=AnswerState.ANSWER_STATE_REFUSED_POLICY, rule="field_refused")
    paper = StringIO()

    Console(file=paper, width=100).print(progress(answers, 410))

    assert "399" in paper.getvalue()
    assert "beta" in paper.getvalue()
    assert "10 of 410" in paper.getvalue()
