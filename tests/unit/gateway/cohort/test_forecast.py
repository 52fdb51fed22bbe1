from datetime import date
from fractions import Fraction
from math import sqrt
from statistics import NormalDist

import pytest

from gateway.cohort.forecast import advantage, lasts_until

YEAR = Fraction(1)


@pytest.mark.parametrize(
    ("spent", "today", "until"),
    [
        (0, date(2026, 3, 1), None),
        (Fraction(1, 2), date(2026, 12, 1), None),
        (Fraction(1, 2), date(2026, 1, 31), date(2026, 3, 3)),
        (Fraction(9, 10), date(2026, 6, 30), date(2026, 7, 20)),
        (1, date(2026, 6, 30), date(2026, 6, 30)),
        (2, date(2026, 6, 30), date(2026, 6, 30)),
    ],
)
def test_a_budget_lasts_as_long_as_its_pace_lets_it(spent, today, until):
    assert lasts_until(Fraction(spent), YEAR, today) == until


@pytest.mark.parametrize(("rho", "bound"), [(0.005, 0.04), (1.0, 0.52)])
def test_the_bound_is_the_one_the_design_states(rho, bound):
    assert advantage(rho) == pytest.approx(2 * NormalDist().cdf(sqrt(rho / 2)) - 1)
    assert round(advantage(rho), 2) == bound
