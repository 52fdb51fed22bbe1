"""The report's page where a product says where findings are: boxes, or masks."""

from collections.abc import Sequence

from coordinator.evaluation.document import (
    DetectionFigures,
    OverlapFigures,
    Report,
    SiteReport,
    SubgroupReport,
)
from coordinator.evaluation.drawing import forest_plot
from coordinator.evaluation.drawing_places import dice_plot, froc_plot, hd95_plot
from coordinator.evaluation.froc import FrocPoint
from coordinator.evaluation.overlap import Distribution, Mean
from coordinator.evaluation.page_words import number, share, table
from coordinator.evaluation.pool import Auc
from protos.evaluation import Endpoint, Hit, HitBy

BOXES = ("with, without", "findings", "sensitivity at the threshold", "false marks", "mean")
MASKS = ("with, without", "mean Dice", "median Dice", "median HD95", "nothing drawn")
HITS = {
    HitBy.INSIDE: "a box is a hit where its centre lies in the finding's box",
    HitBy.DISTANCE: "a box is a hit where the centres are at most {at:g} mm apart",
    HitBy.IOU: "a box is a hit where the boxes share at least {at:g} of their volume",
}


def hit_rule(hit: Hit) -> str:
    return HITS[hit.by].format(at=hit.at)


def primary(report: Report) -> str:
    """Return the endpoint's value."""
    if report.overlap is not None:
        return mean(report.overlap.mean_dice)
    if report.detection is None:
        return "no figures"
    if report.evidence.protocol.endpoint is Endpoint.SENSITIVITY:
        return _point(report.detection.at_threshold)
    return number(report.detection.mean_sensitivity)


def pooled(report: Report) -> str:
    if report.detection is not None:
        return _boxes(report.detection, report.froc)
    return "" if report.overlap is None else _masks(report.overlap)


def sites(report: Report) -> str:
    """Return the forest plot and a row for each hospital, whatever it said."""
    plot = forest_plot(
        [(one.site, interval(one)) for one in report.sites], measure=forest_measure(report)
    )
    bits = {part.site: part.leakage_bits for part in report.evidence.sites}
    rows = [
        (
            one.site, one.outcome, *_row(one), str(one.cells_withheld),
            f"{one.look} ({one.looks_left} left)" if one.look else "", f"{bits[one.site]:.0f}",
        )
        for one in report.sites
    ]  # fmt: skip
    columns = ("hospital", "outcome", *_columns(report), "cells withheld", "look", "bits")
    return plot + table(columns, rows)


def forest_measure(report: Report) -> str:
    """Return what the forest plot is of."""
    return "sensitivity at the threshold" if report.detection is not None else "mean Dice"


def subgroups(report: Report) -> str:
    rows = [(one.field, one.bin, str(len(one.hospitals)), *_row(one)) for one in report.subgroups]
    columns = ("field", "group", "hospitals", *_columns(report))
    return table(columns, rows) if rows else "<p>No subgroup could be shown.</p>"


def reader_dice(report: Report) -> str:
    """Return how alike readers drew the same cases; nothing where no hospital tells."""
    if not report.reader_dice:
        return ""
    rows = [
        (site, str(found.cases), ", ".join(f"{wanted:.0%}: {_bin(low, high)}"
                                           for wanted, low, high in found.quantiles))
        for site, found in report.reader_dice.items()
    ]  # fmt: skip
    columns = ("hospital", "cases", "mean Dice of two readers, quantiles over cases")
    return "<h2>How alike readers drew</h2>" + table(columns, rows)


def voxel_readers(report: Report) -> str:
    """Return STAPLE's word on each reader's voxels; nothing where no hospital tells."""
    if not report.voxel_readers:
        return ""
    rows = [
        (
            one.site, str(one.readers), str(one.cases), str(one.voxels),
            ", ".join(f"{a:.3f}/{b:.3f}"
                      for a, b in zip(one.sensitivity, one.specificity, strict=True)),
            f"{one.consensus_voxels} and {one.voted_voxels}",
        )
        for one in report.voxel_readers
    ]  # fmt: skip
    columns = ("hospital", "readers", "cases", "voxels in the boxes around what was drawn",
               "STAPLE sensitivity/specificity", "voxels by STAPLE, by vote")  # fmt: skip
    return "<h2>STAPLE on voxels</h2>" + table(columns, rows)


def mean(found: Mean | None) -> str:
    return f"{found.value:.3f} ({found.low:.3f}-{found.high:.3f})" if found else "none"


def _boxes(found: DetectionFigures, points: Sequence[FrocPoint]) -> str:
    rows = [
        ("patients with, without the finding", f"{found.positives}, {found.negatives}"),
        ("findings", str(found.lesions)),
        ("sensitivity of findings at the locked threshold", _point(found.at_threshold)),
        ("false marks a patient at the locked threshold", _marks(found.at_threshold)),
        ("mean sensitivity at 1/8 to 8 false marks", number(found.mean_sensitivity)),
    ]
    plots = f'<div class="plots">{froc_plot(points)}</div>'
    return table(("measure", "value (95 %, over patients)"), rows) + plots


def _masks(found: OverlapFigures) -> str:
    rows = [
        ("patients with, without the finding", f"{found.positives}, {found.negatives}"),
        ("mean Dice (Student)", mean(found.mean_dice)),
        *_quantiles("Dice", found.dice),
        *_quantiles("HD95 in mm", found.hd95),
        ("nothing drawn where there is a finding", share(found.undrawn)),
        ("something drawn where there is none", share(found.drawn_without)),
    ]
    plots = dice_plot(found.dice) + hd95_plot(found.hd95)
    return table(("measure", "value (95 %)"), rows) + f'<div class="plots">{plots}</div>'


def _quantiles(name: str, found: Distribution | None) -> list[tuple[str, str]]:
    if found is None:
        return [(name, "none")]
    return [(f"{name}, {wanted:.0%} of patients", _bin(low, high))
            for wanted, low, high in found.quantiles]  # fmt: skip


def _bin(low: float, high: float | None) -> str:
    return f"{low:g} and more" if high is None else f"{low:g} to {high:g}"


def _columns(report: Report) -> tuple[str, ...]:
    return BOXES if report.detection is not None else MASKS


def _row(one: SiteReport | SubgroupReport) -> tuple[str, ...]:
    if one.detection is not None:
        found = one.detection
        return (
            f"{found.positives}, {found.negatives}", str(found.lesions),
            _point(found.at_threshold), _marks(found.at_threshold), number(found.mean_sensitivity),
        )  # fmt: skip
    if one.overlap is None:
        return ("",) * len(BOXES)
    lies = one.overlap
    return (
        f"{lies.positives}, {lies.negatives}", mean(lies.mean_dice), _median(lies.dice),
        _median(lies.hd95), share(lies.undrawn),
    )  # fmt: skip


def _median(found: Distribution | None) -> str:
    if found is None:
        return "none"
    return next(_bin(low, high) for wanted, low, high in found.quantiles if wanted == 0.5)  # noqa: PLR2004 - the median


def _point(found: FrocPoint | None) -> str:
    return f"{found.sensitivity:.3f} ({found.low:.3f}-{found.high:.3f})" if found else "none"


def _marks(found: FrocPoint | None) -> str:
    if found is None:
        return "none"
    return f"{found.false_marks:.2f} ({found.false_marks_low:.2f}-{found.false_marks_high:.2f})"


def interval(one: SiteReport) -> Auc | None:
    """Return a hospital's figure as the forest plot draws them: a value with its ends."""
    at = one.detection.at_threshold if one.detection is not None else None
    if at is not None:
        return Auc(at.sensitivity, at.low, at.high, 0, 0)
    lies = one.overlap.mean_dice if one.overlap is not None else None
    return Auc(lies.value, lies.low, lies.high, 0, 0) if lies is not None else None
