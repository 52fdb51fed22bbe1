from coordinator.api.parse import parse_question
from coordinator.federation.foresight import Before, Said, expectation
from protos.v1.question_pb2 import Answer, AnswerState, Tier

VALUE = AnswerState.ANSWER_STATE_VALUE
EPOCH = "2026Q4"


def ask(where="", by=(), unit="patients"):
    return parse_question(where, list(by), unit)


def gave(sigma=12.0, rho=0.01, epoch=EPOCH):
    return Answer(state=VALUE, sigma=sigma, rho=rho, epoch=epoch)


def refused(rule, state=AnswerState.ANSWER_STATE_REFUSED_POLICY):
    return Answer(state=state, rule=rule)


def expect(question, *earlier):
    read = [(Before.of(who, what), Said.of(answer)) for who, what, answer in earlier]
    return expectation("tongji", question, read, "us", EPOCH, here=True)


def test_without_an_answer_the_default_policy_stands():
    found = expect(ask(by=["Modality"]))

    assert (found.sigma, found.rho, found.is_known) == (10, 0.02, False)
    assert found.left_for_you == 0.2


def test_an_earlier_answer_tells_the_hospitals_own_noise_and_price():
    found = expect(ask(by=["Modality"]), ("them", ask(by=["PatientSex"]), gave(20.0, 0.001)))

    assert (found.sigma, found.is_known) == (20, True)
    assert found.rho == 0.004
    assert (found.spent_by_you, found.spent_by_all) == (0, 0.001)


def test_a_repeat_is_free_and_was_paid_once():
    question, again = (
        ask("Modality = 'CT' and PatientAge > 50"),
        ask("PatientAge > 50 and Modality = 'CT'"),
    )

    found = expect(again, ("us", question, gave()), ("us", again, gave()))

    assert (found.rho, found.is_repeat) == (0, True)
    assert found.spent_by_you == 0.01
    assert not expect(again, ("us", question, gave(epoch="2026Q3"))).is_repeat


def test_what_others_asked_is_not_told():
    assert not expect(ask(), ("them", ask(), gave())).is_repeat
    assert not expect(ask(), ("them", ask(), refused("field_refused"))).refused_before


def test_a_refusal_stands_until_the_hospital_answers_the_like():
    question = ask(by=["Manufacturer"])
    no, budget = refused("field_refused"), AnswerState.ANSWER_STATE_REFUSED_BUDGET

    assert expect(question, ("us", question, no)).refused_before == "field_refused"
    assert not expect(question, ("us", question, gave()), ("us", question, no)).refused_before
    assert not expect(ask(by=["Modality"]), ("us", question, no)).refused_before
    spent = ("us", ask("Modality = 'CT'"), refused("requester_budget", budget))
    assert expect(question, spent).refused_before == "requester_budget"


def test_exact_tables_have_no_price():
    question = ask()
    question.tier = Tier.TIER_EXACT

    assert (expect(question).rho, expect(question).sigma) == (0, 0)
