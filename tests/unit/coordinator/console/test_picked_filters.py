"""Clicks become a filter as one would type it; answers become rows of which no state is lost."""

import csv
import io

import pytest

from coordinator.api.parse import parse_where
from coordinator.console.asked import SERIES_SHOWN, chart, table
from coordinator.console.fleet import backlog
from coordinator.console.picking import composed
from coordinator.console.rule_words import RULES, STATES
from coordinator.federation.desk import Seen
from coordinator.federation.document import state_of, typed
from coordinator.federation.rules import total
from coordinator.federation.slip import Slip
from protos.signatures import Distrust
from protos.v1.question_pb2 import Answer, AnswerState, Cell, CountUnit, Question
from protos.vocabulary import labels


def test_clicks_and_typing_are_one_filter():
    ranges = {"PatientAge": ("50", "80"), "SliceThickness": ("", "")}

    found = composed("StudyYear = 2026", ["Modality=CT", "Modality=MR", "PatientSex=F"], ranges)

    assert found == (
        "StudyYear = 2026 AND Modality IN ('CT', 'MR') AND PatientSex = 'F' "
        "AND PatientAge >= 50 AND PatientAge < 80"
    )
    assert len(parse_where(found)) == 5


@pytest.mark.parametrize(
    "pick", ["", "=", "PatientName=Li", "Modality=XX", "PatientAge=50", "a" * 9999]
)
def test_a_click_that_cannot_be_does_nothing(pick):
    assert composed("", [pick], {"PatientAge": ("1 OR 1=1", "'")}) == ""


@pytest.mark.parametrize(
    "where",
    ["Modality = 'CT'", "Modality IN ('CT', 'MR') and PatientAge >= 50", "PatientAge = '50-60'",
     "Manufacturer != 'UNITED IMAGING' and SliceThickness < 1.5", ""],
)  # fmt: skip
def test_a_filter_reads_again_as_the_same_question(where):
    asked = parse_where(where)

    assert parse_where(typed(asked)) == asked


def test_a_slip_comes_back_as_it_went():
    question = Question(unit=CountUnit.COUNT_UNIT_PATIENTS, group_by=["PatientAge"])
    slip = Slip("demo", question, ("a",), 30, 1, "PatientAge")

    assert Slip.read(slip.text()) == slip
    assert not slip.is_signed


def seen():
    question = Question(question_id="q", group_by=["PatientSex"])
    value, hidden = AnswerState.ANSWER_STATE_VALUE, AnswerState.ANSWER_STATE_BELOW_THRESHOLD
    cells = [Cell(values=["F"], state=value, count=7), Cell(values=["M"], state=hidden)]
    answers = {
        state_of(state): Answer(question_id="q", state=state, rule="=cmd()")
        for state in AnswerState.values()
        if state
    }
    answers["VALUE"] = Answer(question_id="q", state=value, cells=cells, sigma=10.0, epoch="2026Q4")
    sites = [*answers, "waits"]
    added = total("q", answers.values(), len(sites))
    return Seen(question, 0.0, sites, answers, added, is_open=True)


def test_the_six_states_and_those_awaited_are_rows_of_their_own():
    rows = list(csv.DictReader(io.StringIO(table(seen()))))

    assert {row["state"] for row in rows} == {*STATES, "AWAITED"}
    assert [(row["PatientSex"], row["cell_state"], row["count"]) for row in rows[:1]] == [
        ("F", "VALUE", "7")
    ]
    hidden = next(row for row in rows if row["PatientSex"] == "M")
    assert (hidden["cell_state"], hidden["count"]) == ("BELOW_THRESHOLD", "")
    assert "'=cmd()" in {row["rule"] for row in rows}  # no spreadsheet runs it


def test_a_cell_nobody_gave_is_no_bar():
    assert chart(seen())["series"][0]["counts"] == [7]
    assert chart(seen())["labels"] == ["F"]


def test_the_largest_bars_are_drawn_and_the_others_counted():
    question = Question(group_by=["PatientSex", "Modality"])
    cells = [
        Cell(values=[sex, modality], state=AnswerState.ANSWER_STATE_VALUE, count=number)
        for sex in ("F", "M")
        for number, modality in enumerate(labels("Modality"))
    ]
    answers = {"a": Answer(state=AnswerState.ANSWER_STATE_VALUE, cells=cells)}

    added = total("q", answers.values(), 1)
    drawn = chart(Seen(question, 0.0, ["a"], answers, added, is_open=False))

    assert [one["name"] for one in drawn["series"]] == list(labels("Modality")[-SERIES_SHOWN:])
    assert drawn["left_out"] == len(labels("Modality")) - SERIES_SHOWN


def test_every_refusal_of_a_signature_has_a_cure():
    jobs_alone = {Distrust.TOO_FEW_REVIEWS, Distrust.TERMS_DIFFER, Distrust.CHAIN_BROKEN}

    assert set(Distrust) - jobs_alone <= set(RULES)


def test_a_backlog_is_a_span():
    assert [backlog(digits) for digits in (0, 1, 4)] == ["<10,000", "1–9", "1,000–9,999"]
