"""Boxes of two products against the same findings: sums over patients, each of them a cluster."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gateway.evaluate.detections import Found, Mark, Searched, Searches, hit_at, take, tally
from gateway.model import Box
from protos.evaluation import Hit
from protos.scores import BINS, FALSE_MARKS

RESAMPLES = 400
AT_ONCE = 50  # resamples: their counts and sums stay small, however many patients there are
MILLION = 1_000_000

Table = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class PairedFound:
    """One case or one patient, looked at by two products; findings hit by one alone."""

    first: Found
    second: Found
    first_alone: int
    second_alone: int

    def __add__(self, other: "PairedFound") -> "PairedFound":
        return PairedFound(
            self.first + other.first,
            self.second + other.second,
            self.first_alone + other.first_alone,
            self.second_alone + other.second_alone,
        )


def search_both(
    findings: Sequence[Box],
    marks: tuple[Sequence[Mark], Sequence[Mark]],
    hit: Hit,
    thresholds: tuple[float, float],
) -> PairedFound:
    """Look for a case's findings among the marks of two products, each at its own threshold."""
    one, other = (take(findings, each, hit) for each in marks)
    alone = hit_at(one, thresholds[0]), hit_at(other, thresholds[1])
    return PairedFound(
        tally(len(findings), one, thresholds[0]),
        tally(len(findings), other, thresholds[1]),
        len(alone[0] - alone[1]),
        len(alone[1] - alone[0]),
    )


@dataclass(slots=True)
class PairedSearches:
    """Sums over the patients that two products were tried on; each product at its threshold."""

    first: Searches = field(default_factory=Searches)
    second: Searches = field(default_factory=Searches)
    hits_products: int = 0
    marks_products: int = 0
    first_alone: int = 0
    second_alone: int = 0
    summary_spread: int = 0  # in millionths

    def add(self, found: PairedFound, *, positive: bool) -> None:
        one, other = found.first, found.second
        self.first.add(Searched(one, None, positive, {}))
        self.second.add(Searched(other, None, positive, {}))
        self.hits_products += int(one.hits[BINS] * other.hits[BINS])
        self.marks_products += int(one.marks[BINS] * other.marks[BINS])
        self.first_alone += found.first_alone
        self.second_alone += found.second_alone


def paired_searches(
    compared: Sequence[tuple[bool, PairedFound]], draw: np.random.Generator
) -> PairedSearches:
    """Add patients up; `draw` says who is in each resample."""
    sums = PairedSearches()
    for positive, found in compared:
        sums.add(found, positive=positive)
    spread = _summary_variance([found for _positive, found in compared], draw)
    sums.summary_spread = round(MILLION * spread * sums.first.lesions**2)
    return sums


def _summary_variance(patients: Sequence[PairedFound], draw: np.random.Generator) -> float:
    """Return the variance of the difference of mean sensitivities, over resampled patients.

    The thresholds at which a curve has so many false marks vary with the patients, too, so sums at
    fixed ones are not enough: patients are drawn with all their findings (Rutter 2000).
    """
    lesions = np.array([each.first.lesions for each in patients], np.float32)
    rows = (
        (one.hits, one.marks, other.hits, other.marks)
        for one, other in ((each.first, each.second) for each in patients)
    )
    tables = [np.array(column, np.float32)[:, :BINS] for column in zip(*rows, strict=True)]
    m = len(patients)
    differences = []
    for _ in range(RESAMPLES // AT_ONCE):
        times = draw.multinomial(m, np.full(m, 1 / m), AT_ONCE).astype(np.float32)
        found = times @ lesions
        hits, marks, other_hits, other_marks = (times @ each for each in tables)
        with np.errstate(divide="ignore", invalid="ignore"):
            apart = _mean_hits(hits, marks / m) - _mean_hits(other_hits, other_marks / m)
            differences.append(np.where(found > 0, apart / found, 0.0))
    return float(np.concatenate(differences).var(ddof=1))


def _mean_hits(hits: Table, false_marks: Table) -> Table:
    """Return the findings hit at no more than so many false marks a patient, the mean of them.

    Both rows fall with the threshold: the lowest one that is allowed finds the most.
    """
    read = []
    for at in FALSE_MARKS:
        allowed = false_marks <= at
        found = np.take_along_axis(hits, allowed.argmax(axis=1)[:, None], axis=1)[:, 0]
        read.append(np.where(allowed.any(axis=1), found, 0))
    mean: Table = np.mean(read, axis=0)
    return mean
