import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.errors import InvalidRequest
from coordinator.federation.rules import Asking, as_asked, check_question, is_sound, total
from protos.v1.question_pb2 import Answer, AnswerState, Cell, Operator, Predicate, Question
from protos.vocabulary import FIELDS, FieldKind

VALUE = AnswerState.ANSWER_STATE_VALUE
NOT_SUPPORTED = AnswerState.ANSWER_STATE_NOT_SUPPORTED
HIDDEN = AnswerState.ANSWER_STATE_BELOW_THRESHOLD
EQUAL = Operator.OPERATOR_EQUAL


def an_answer(sigma: float = 10.0, **counts: int | None) -> Answer:
    cells = [
        Cell(values=[name], state=VALUE, count=count)
        if count is not None
        else Cell(values=[name], state=HIDDEN)
        for name, count in counts.items()
    ]
    return Answer(question_id="q", state=VALUE, cells=cells, sigma=sigma)


def test_a_total_adds_what_was_given_and_never_reads_a_hidden_cell_as_zero():
    refused = Answer(state=AnswerState.ANSWER_STATE_REFUSED_POLICY)

    added = total("q", [an_answer(3.0, F=10, M=None), an_answer(4.0, F=5, M=7), refused], 4)

    cells = {cell.values[0]: cell for cell in added.cells}
    assert (cells["F"].count, cells["F"].sites) == (15, 2)
    assert (cells["M"].count, cells["M"].sites) == (7, 1)
    assert cells["F"].margin == pytest.approx(1.95996 * 5.0, rel=1e-4)
    assert cells["M"].margin == pytest.approx(1.95996 * 4.0, rel=1e-4)
    assert (added.answered, added.asked) == (2, 4)


def test_nobody_with_a_figure_gives_no_cell():
    added = total("q", [Answer(state=HIDDEN)], 1)

    assert (len(added.cells), added.answered) == (0, 0)


@given(st.lists(st.integers(-1000, 10**6), min_size=1, max_size=20))
def test_the_order_of_answers_does_not_matter(counts):
    answers = [an_answer(10.0, F=count) for count in counts]

    assert total("q", answers, 20) == total("q", answers[::-1], 20)


def test_only_the_asked_count_and_only_once():
    asking = Asking(frozenset({"alpha", "beta"}))

    asking = asking.answered("alpha", an_answer(F=1)).answered("alpha", an_answer(F=2))
    asking = asking.answered("stranger", an_answer(F=3))

    assert asking.answers["alpha"].cells[0].count == 1
    assert asking.awaited == {"beta"}


@pytest.mark.parametrize(
    ("connected", "patience"),
    [({"beta"}, 30.0), (set(), 3.0), ({"alpha"}, 3.0), ({"alpha", "beta"}, 30.0)],
)
def test_who_is_here_is_worth_the_deadline_and_who_is_away_a_moment(connected, patience):
    asking = Asking(frozenset({"alpha", "beta"})).answered("alpha", an_answer(F=1))

    assert asking.patience(frozenset(connected), 30.0, 3.0) == patience


def test_nothing_is_waited_for_once_all_have_answered():
    asking = Asking(frozenset({"alpha"})).answered("alpha", an_answer(F=1))

    assert asking.patience(frozenset({"alpha"}), 30.0, 3.0) == 0


@pytest.mark.parametrize(
    "answer",
    [
        Answer(state=AnswerState.ANSWER_STATE_UNSPECIFIED),
        Answer(state=AnswerState.ANSWER_STATE_OFFLINE),
        Answer(state=VALUE, sigma=float("nan")),
        Answer(state=VALUE, sigma=-1.0),
        Answer(state=VALUE, cells=[Cell(values=["F"]), Cell(values=["F"])]),
        Answer(state=VALUE, cells=[Cell(values=["F"], count=1 << 60)]),
        Answer(state=VALUE, sigma=1e200),
        Answer(state=VALUE, rho=float("nan")),
        Answer(state=VALUE, rho=float("inf")),
        Answer(state=VALUE, rho=-0.1),
        Answer(state=VALUE, cells=[Cell(values=["\x1b[2J"])]),
        Answer(state=AnswerState.ANSWER_STATE_REFUSED_POLICY, rule="x" * 65),
    ],
)
def test_an_answer_no_honest_gateway_sends_is_told(answer):
    assert not is_sound(answer)


@pytest.mark.parametrize("values", [[], ["F", "CT"]])
def test_cells_of_another_breakdown_are_no_answer_to_the_question(values):
    question = Question(group_by=["PatientSex"])
    strange = Answer(question_id="q", state=VALUE, cells=[Cell(values=values, count=1)])

    taken = as_asked(question, strange)

    assert (taken.state, taken.rule) == (NOT_SUPPORTED, "unknown_field")
    assert as_asked(question, an_answer(F=1)) == an_answer(F=1)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_asked_by_its_own_comparisons(name):
    field = FIELDS[name]
    value = field.bins[0] if field.kind is FieldKind.CATEGORY else "50"
    ordered = Predicate(field=name, operator=Operator.OPERATOR_LESS, values=[value])
    equal = Predicate(field=name, operator=EQUAL, values=[value])

    check_question(Question(unit=1, where=[equal], group_by=[name]))
    if field.kind is FieldKind.NUMBER:
        check_question(Question(unit=1, where=[ordered]))
    else:
        with pytest.raises(InvalidRequest):
            check_question(Question(unit=1, where=[ordered]))


@pytest.mark.parametrize(
    "question",
    [
        Question(unit=0),
        Question(unit=77),
        Question(unit=1, where=[Predicate(field="Modality", operator=EQUAL, values=["CT"])] * 7),
        Question(unit=1, where=[Predicate(field="Modality", operator=EQUAL)]),
        Question(unit=1, where=[Predicate(field="Modality", operator=EQUAL, values=["CT", "MR"])]),
        Question(unit=1, where=[Predicate(field="Modality", operator=99, values=["CT"])]),
        Question(unit=1, where=[Predicate(field="PatientAge", operator=EQUAL, values=["nan"])]),
        Question(unit=1, where=[Predicate(field="PatientAge", operator=EQUAL, values=["old"])]),
        Question(unit=1, group_by=["Modality", "Modality"]),
        Question(unit=1, group_by=["PatientID"]),
        Question(unit=1, project="x\n"),
    ],
)
def test_what_the_vocabulary_does_not_hold_is_refused(question):
    with pytest.raises(InvalidRequest):
        check_question(question)
