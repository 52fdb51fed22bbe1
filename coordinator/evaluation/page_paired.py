"""The report's page where two products are compared on the same patients."""

from html import escape

from coordinator.evaluation.comparison import PairedAuc
from coordinator.evaluation.document import ComparisonReport, Report
from coordinator.evaluation.page_words import number, table
from coordinator.evaluation.paired_places import PairedBoxes, PairedFigure, PairedMasks

Rows = list[tuple[str, str]]


def comparison(report: Report) -> str:
    """Return the section; nothing where the protocol compares with nobody."""
    found = report.comparison
    asked = report.evidence.protocol.compare_with
    if found is None:
        beside = f"<h2>Beside <code>{escape(asked or '')}</code></h2>"
        return f"{beside}<p>No hospital could compare the two.</p>" if asked else ""
    other = escape(found.other_bundle)
    hospitals = f"<p>Hospitals that compared: {escape(', '.join(found.hospitals))}.</p>"
    return f"<h2>Beside <code>{other}</code></h2>" + table(("", ""), rows(found)) + hospitals


def rows(found: ComparisonReport) -> Rows:
    """Return each measure with what it says; the first product is this report's."""
    sizes = ("patients with, without the finding", f"{found.positives}, {found.negatives}")
    if found.boxes is not None:
        return [sizes, *_boxes(found.boxes)]
    if found.masks is not None:
        return [("patients with the finding", str(found.positives)), *_masks(found.masks)]
    return [sizes, *_scores(found)]


def _scores(found: ComparisonReport) -> Rows:
    listed: Rows = []
    if found.auc is not None:
        paired = found.auc
        listed += [
            ("AUC of this product, of the other", f"{paired.first:.3f}, {paired.second:.3f}"),
            ("difference (paired DeLong)", difference(paired)),
        ]
    if (calls := found.calls) is not None:
        words = f"{calls.first_alone} and {calls.second_alone}, p = {calls.p:.4f}"
        listed.append(("called rightly by one alone (McNemar)", words))
    return listed


def _boxes(found: PairedBoxes) -> Rows:
    alone = found.found
    lone = f"{alone.first_alone} and {alone.second_alone}, p = {alone.p:.4f}"
    return [
        ("findings", str(found.lesions)),
        *_figure("sensitivity of findings at the locked thresholds", "Obuchowski 1998",
                 found.sensitivity),
        ("found by one alone (McNemar by patients, Yang 2010)", lone),
        *_figure("false marks a patient at the locked thresholds", "paired", found.false_marks),
        *_figure("mean sensitivity at 1/8 to 8 false marks", "patients resampled",
                 found.mean_sensitivity),
    ]  # fmt: skip


def _masks(found: PairedMasks) -> Rows:
    better = found.better
    words = f"{better.first_alone} and {better.second_alone}, p = {better.p:.4f}"
    ranks = f"z = {number(found.ranks)}, p = {found.ranks_p:.4f}"
    return [
        *_figure("mean Dice", "paired, Student", found.dice),
        ("patients in whom one has the higher Dice (sign test)", words),
        ("signed ranks of the differences, in bins (Wilcoxon)", ranks),
    ]


def _figure(name: str, method: str, found: PairedFigure | None) -> Rows:
    if found is None:
        return [(name, "none")]
    return [
        (f"{name}, this product and the other", f"{found.first:.3f}, {found.second:.3f}"),
        (f"difference ({method})", difference(found)),
    ]


def difference(paired: PairedAuc | PairedFigure) -> str:
    between = f"{paired.low:.3f} to {paired.high:.3f}"
    return f"{paired.difference:.3f} ({between}), p = {paired.p:.4f}"
