"""A test's figures as the pages show them, whether a product scores, marks or draws."""

from collections.abc import Iterator
from dataclasses import dataclass

from coordinator.evaluation.comparison import PairedAuc
from coordinator.evaluation.document import (
    ComparisonReport,
    DetectionFigures,
    Figures,
    OverlapFigures,
    Report,
    SiteReport,
    SubgroupReport,
)
from coordinator.evaluation.paired_places import PairedBoxes, PairedFigure, PairedMasks
from protos.evaluation import Endpoint
from protos.pages.words import _

SHARES = ("sensitivity", "specificity", "ppv", "npv")
SCORES = ("AUC", "AUPRC", *SHARES, "Brier", "ECE", "slope", "intercept")
FOUND = _("sensitivity of findings at the locked threshold")
FALSE = _("false marks a patient at the locked threshold")
MEAN = _("mean sensitivity at 1/8 to 8 false marks")
DICE = _("mean Dice")
UNDRAWN = _("nothing drawn where there is a finding")
DRAWN = _("something drawn where there is none")
ENDPOINTS = {
    Endpoint.AUC: "AUC",
    Endpoint.SENSITIVITY: "sensitivity",
    Endpoint.SPECIFICITY: "specificity",
    Endpoint.FROC: MEAN,
    Endpoint.DICE: DICE,
}


@dataclass(frozen=True, slots=True)
class Value:
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One measure of two products."""

    name: str
    first: Value | None
    second: Value | None


@dataclass(frozen=True, slots=True)
class Compared:
    """One paired test: what each product has of it, how far apart they are, and p."""

    name: str
    first: float | None
    second: float | None
    difference: Value | None
    p: float
    are_counts: bool = False


def beside(first: Report, second: Report) -> list[Row]:
    """Put what two reports say of all hospitals together side by side."""
    one, other = together(first), together(second)
    names = SCORES if first.pooled and second.pooled else tuple(dict.fromkeys((*one, *other)))
    return [Row(name, one.get(name), other.get(name)) for name in names]


def together(report: Report) -> dict[str, Value]:
    if report.pooled is not None:
        return _scores(report.pooled)
    return _places(report.detection, report.overlap)


def primary(report: Report) -> Value | None:
    """Return the endpoint that the protocol chose."""
    endpoint, found = report.evidence.protocol.endpoint, together(report)
    if endpoint is Endpoint.SENSITIVITY and report.detection is not None:
        return found.get(FOUND)
    return found.get(ENDPOINTS[endpoint])


def main(one: SiteReport | SubgroupReport) -> Value | None:
    """Return the one figure of a group of patients in whom a product marked or drew."""
    found = _places(one.detection, one.overlap)
    return found.get(FOUND) or found.get(DICE)


def sizes(one: SiteReport | SubgroupReport | Report) -> tuple[int, int] | None:
    scores = one.pooled if isinstance(one, Report) else one.figures
    part = scores or one.detection or one.overlap
    return (part.positives, part.negatives) if part is not None else None


def compared(found: ComparisonReport) -> list[Compared]:
    """Return the paired tests of a report."""
    if found.boxes is not None:
        return list(_boxes(found.boxes))
    if found.masks is not None:
        return list(_masks(found.masks))
    rows = _figure(_("AUC (paired DeLong)"), found.auc)
    calls = found.calls
    name = _("called rightly by one alone (McNemar)")
    if calls is not None:
        rows.append(_counts(name, calls.first_alone, calls.second_alone, calls.p))
    return rows


def _boxes(found: PairedBoxes) -> Iterator[Compared]:
    yield from _figure(FOUND, found.sensitivity)
    alone, name = found.found, _("findings found by one alone (McNemar by patients)")
    yield _counts(name, alone.first_alone, alone.second_alone, alone.p)
    yield from _figure(FALSE, found.false_marks)
    yield from _figure(MEAN, found.mean_sensitivity)


def _masks(found: PairedMasks) -> Iterator[Compared]:
    yield from _figure(DICE, found.dice)
    better = found.better
    name = _("patients in whom one has the higher Dice (sign test)")
    yield _counts(name, better.first_alone, better.second_alone, better.p)
    yield Compared(_("signed ranks of the differences (Wilcoxon)"), None, None, None, found.ranks_p)


def _figure(name: str, found: PairedFigure | PairedAuc | None) -> list[Compared]:
    if found is None:
        return []
    difference = Value(found.difference, found.low, found.high)
    return [Compared(name, found.first, found.second, difference, found.p)]


def _counts(name: str, first: int, second: int, p: float) -> Compared:
    return Compared(name, first, second, None, p, are_counts=True)


def _scores(figures: Figures) -> dict[str, Value]:
    found = {}
    if figures.auc:
        found["AUC"] = Value(figures.auc.value, figures.auc.low, figures.auc.high)
    if figures.average_precision is not None:
        found["AUPRC"] = Value(figures.average_precision)
    for name in SHARES:
        if (share := figures.shares.get(name)) is not None:
            found[name] = Value(share.value, share.low, share.high)
    if (fitted := figures.calibration) is not None:
        found |= {"Brier": Value(fitted.brier), "ECE": Value(fitted.ece)}
        for name in ("slope", "intercept"):
            if (estimate := getattr(fitted, name)) is not None:
                found[name] = Value(estimate.value, estimate.low, estimate.high)
    return found


def _places(marked: DetectionFigures | None, drawn: OverlapFigures | None) -> dict[str, Value]:
    found = {}
    if marked is not None and (at := marked.at_threshold) is not None:
        found[FOUND] = Value(at.sensitivity, at.low, at.high)
        found[FALSE] = Value(at.false_marks, at.false_marks_low, at.false_marks_high)
    if marked is not None and marked.mean_sensitivity is not None:
        found[MEAN] = Value(marked.mean_sensitivity)
    if drawn is not None and (mean := drawn.mean_dice) is not None:
        found[DICE] = Value(mean.value, mean.low, mean.high)
    shares = {} if drawn is None else {UNDRAWN: drawn.undrawn, DRAWN: drawn.drawn_without}
    for name, share in shares.items():
        if share is not None:
            found[name] = Value(share.value, share.low, share.high)
    return found
