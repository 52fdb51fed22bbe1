"""What a noisy question costs a hospital's privacy budget, and what it is by default.

A patient moves at most m cells by at most c each, so noise of sigma costs m c^2 / (2 sigma^2) of
rho (zero-concentrated differential privacy). A hospital's policy may set c, sigma and the budgets
otherwise, and does not tell the federation; m is everybody's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from types import MappingProxyType

from protos.vocabulary import labels

# How many bins of a field one patient may be counted in: enforced by the count, for the cost rests
# on it. A patient has one sex; most are scanned in a few regions, years and machines.
BINS_PER_PATIENT: Mapping[str, int] = MappingProxyType(
    {
        "PatientSex": 1,
        "PatientAge": 2,
        "QualityGrade": 2,
        "Label": 2,
        "Manufacturer": 3,
        "SliceThickness": 3,
        "Modality": 4,
        "BodyPartExamined": 4,
        "StudyYear": 4,
    }
)


@dataclass(frozen=True, slots=True)
class UnitTerms:
    """How much one patient may add to a count, and the noise that hides it."""

    contribution: int
    sigma: float


DEFAULT_TERMS: Mapping[str, UnitTerms] = MappingProxyType(
    {
        "patients": UnitTerms(1, 10.0),
        "studies": UnitTerms(3, 15.0),
        "series": UnitTerms(10, 50.0),
        "instances": UnitTerms(500, 2500.0),
        "bytes": UnitTerms(1024, 5120.0),  # in MiB
    }
)
DEFAULT_RHO_PER_YEAR = 1.0
DEFAULT_REQUESTER_SHARE = 0.2


def cells(group_by: Sequence[str]) -> int:
    """Return how many cells a question has, those of the catch-alls included."""
    return prod(len(labels(name)) for name in group_by)


def bins_moved(group_by: Sequence[str]) -> int:
    """Return m: how many cells one patient is counted in at the most."""
    return min(prod(BINS_PER_PATIENT[name] for name in group_by), cells(group_by))


def rho(group_by: Sequence[str], contribution: int, sigma: Fraction) -> Fraction:
    return Fraction(bins_moved(group_by) * contribution**2) / (2 * sigma**2)
