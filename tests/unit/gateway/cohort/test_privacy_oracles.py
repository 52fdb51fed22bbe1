"""The sampler beside OpenDP's, the prices beside OpenDP's and dp-accounting's."""

from collections import Counter
from fractions import Fraction
from math import sqrt

import pytest
from scipy.stats import chi2

from gateway.cohort.forecast import advantage
from gateway.cohort.noise import Bits, discrete_gaussian
from gateway.cohort.rules import canonical, cost
from gateway.policy import Policy, exact
from protos.v1.question_pb2 import CountUnit, Question
from tests.fakes.hospital import Hospital

dp = pytest.importorskip("opendp.prelude", reason="OpenDP is not installed: make setup")
accounting = pytest.importorskip("dp_accounting", reason="dp-accounting is not installed")

DRAWS = 20_000
RARE = 1e-6  # one false alarm in a million runs: OpenDP's draws cannot be seeded
ORDERS = [1.5, 2.0, 4.0, 16.0, 64.0]
BY = [[], ["PatientSex"], ["PatientAge", "PatientSex"], ["Modality", "StudyYear"]]


@pytest.mark.parametrize("sigma", [Fraction(1, 2), Fraction(3), Fraction(10)])
def test_the_noise_is_distributed_as_opendps(sigma):
    dp.enable_features("contrib")
    zeros = dp.vector_domain(dp.atom_domain(T=int)), dp.l2_distance(T=float)
    theirs = Counter(dp.m.make_gaussian(*zeros, scale=float(sigma))([0] * DRAWS))
    bits = Bits(b"beside OpenDP")
    ours = Counter(discrete_gaussian(sigma, bits) for _ in range(DRAWS))

    common = [x for x in ours | theirs if ours[x] + theirs[x] >= 20]
    distance = sum((ours[x] - theirs[x]) ** 2 / (ours[x] + theirs[x]) for x in common)

    assert len(common) >= 3
    assert distance < chi2.isf(RARE, len(common))


@pytest.mark.parametrize("unit", ["PATIENTS", "STUDIES", "SERIES", "INSTANCES", "BYTES"])
@pytest.mark.parametrize("by", BY, ids=str)
def test_a_question_costs_what_opendp_and_dp_accounting_say(unit, by):
    dp.enable_features("contrib")
    asked = canonical(Question(unit=CountUnit.Value(f"COUNT_UNIT_{unit}"), group_by=by))
    policy = Policy()
    terms = policy.patients() if unit == "PATIENTS" else getattr(policy.questions, unit.lower())
    # What one patient may move: m cells by c each.
    moved = sqrt(asked.bins_per_patient) * terms.contribution

    ours = float(cost(asked, terms.contribution, exact(terms.sigma)))

    zeros = dp.vector_domain(dp.atom_domain(T=int)), dp.l2_distance(T=float)
    theirs = dp.m.make_gaussian(*zeros, scale=terms.sigma).map(moved)
    assert ours == pytest.approx(theirs, rel=1e-9)
    accountant = accounting.rdp.RdpAccountant(ORDERS)
    accountant.compose(accounting.GaussianDpEvent(terms.sigma / moved))
    assert [ours * order for order in ORDERS] == pytest.approx(list(accountant._rdp), rel=1e-9)


def test_a_year_of_questions_adds_up_as_dp_accounting_adds(tmp_path):
    hospital = Hospital(tmp_path)
    hospital.admit(30)
    accountant = accounting.rdp.RdpAccountant(ORDERS)
    units = (("PATIENTS", 1, 10.0), ("STUDIES", 3, 15.0), ("BYTES", 1024, 5120.0))
    for number, (unit, clip, sigma) in enumerate(units * 2):
        by = BY[number % 4]
        question = Question(
            question_id=f"q{number}",
            unit=CountUnit.Value(f"COUNT_UNIT_{unit}"),
            group_by=by,
            requester=f"asker{number}",
        )
        given = hospital.answers.answer(question)
        repeat = hospital.answers.answer(question)  # free
        assert (given.rho > 0, repeat.cells) == (True, given.cells)
        moved = sqrt(canonical(question).bins_per_patient) * clip
        accountant.compose(accounting.GaussianDpEvent(sigma / moved))

    spent = float(hospital.privacy.spent(2026))
    hospital.close()

    assert [spent * order for order in ORDERS] == pytest.approx(list(accountant._rdp), rel=1e-6)


@pytest.mark.parametrize("rho", [0.005, 0.1, 1.0])
def test_the_bound_on_an_attack_is_dp_accountings_total_variation(rho):
    accountant = accounting.pld.PLDAccountant()
    accountant.compose(accounting.GaussianDpEvent(1 / sqrt(2 * rho)))

    assert advantage(rho) == pytest.approx(accountant.get_delta(0.0), abs=1e-3)
