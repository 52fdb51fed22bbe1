"""What a privacy budget means: how long it lasts, and what it bounds."""

from datetime import date, timedelta
from fractions import Fraction
from math import erf, sqrt


def lasts_until(spent: Fraction, budget: Fraction, today: date) -> date | None:
    """Return when the year's budget is empty at this year's pace; None where it outlasts the year.

    The pace is the average since New Year: a burst is forecast as if it went on.
    """
    if spent >= budget:
        return today
    days = (today - date(today.year, 1, 1)).days + 1
    if spent * _days_of(today.year) <= budget * days:
        return None
    return today + timedelta(days=int((budget - spent) * days / spent))


def advantage(rho: float) -> float:
    """Bound how much better than chance anybody tells whether one patient is in: 2 Phi - 1."""
    return erf(sqrt(rho / 2) / sqrt(2))


def _days_of(year: int) -> int:
    return (date(year + 1, 1, 1) - date(year, 1, 1)).days
