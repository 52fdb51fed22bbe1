"""The report as one page that stands alone: a drawing of `report.json`, which is what is signed."""

from html import escape

from coordinator.evaluation import page_paired, page_places
from coordinator.evaluation.calibration import Estimate
from coordinator.evaluation.document import Figures, Report, SubgroupReport
from coordinator.evaluation.drawing import calibration_plot, flow_diagram, forest_plot, roc_plot
from coordinator.evaluation.page_places import hit_rule
from coordinator.evaluation.page_words import number, share, table
from coordinator.evaluation.pool import Auc
from protos.evaluation import Endpoint, EvaluationProtocol, Predictions

STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
body{color:#1a1a1a;background:#fff}table{border-collapse:collapse;margin:.5rem 0 1.5rem}
td,th{padding:.2rem .7rem;text-align:left;border-bottom:1px solid #ddd;vertical-align:top}
th{font-weight:600}h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}
.plots{display:flex;flex-wrap:wrap;gap:1rem}svg{max-width:100%;height:auto}
svg text{font:12px system-ui,sans-serif;fill:#333}svg .dim{fill:#777}
.line{fill:none;stroke:#0b5394;stroke-width:2}.thin{stroke-width:1}
.mark{fill:#0b5394}.grid{stroke:#e5e5e5}.chance{stroke:#999;stroke-dasharray:4 4}
.box{fill:#f4f7fa;stroke:#0b5394}.arrow{stroke:#0b5394}code{font-size:.85em;word-break:break-all}
@media print{body{margin:0}}
"""
DRAWN_FROM = (
    "This page is a drawing of <code>report.json</code> (SHA-256 <code>{sha256}</code>), which is "
    "signed; check it with <code>radfed job verify report.json</code>."
)

NOT_BY_HOSPITAL = (
    "Figures of single hospitals, the AUC within hospitals, heterogeneity and the forest plot are "
    "not available: pooled by secure sum."
)


def draw(report: Report, sha256: str) -> str:
    """Return the page; every word in it that came from elsewhere is escaped."""
    evidence = report.evidence
    parts = [
        f"<h1>{escape(evidence.name)}: test on {escape(evidence.protocol.test_set)}</h1>",
        f"<p>{escape(evidence.purpose)}</p>",
        _facts(report),
        "<h2>Patients</h2>",
        _flow(report),
        "<h2>All hospitals together</h2>",
        _pooled(report),
        "<h2>Hospitals</h2>",
        _sites(report),
        "<h2>Subgroups</h2>",
        _subgroups(report),
        page_paired.comparison(report),
        _readers(report),
        page_places.reader_dice(report),
        page_places.voxel_readers(report),
        "<h2>PROBAST+AI: what is known</h2>",
        *(_domain(report, number) for number in range(len(report.probast_ai))),
        f"<p>{escape(report.disclosure)}.</p>",
        f"<p>{DRAWN_FROM.format(sha256=sha256)}</p>",
    ]
    title = f"{escape(evidence.name)}: evaluation report"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )


def _facts(report: Report) -> str:
    evidence, protocol = report.evidence, report.evidence.protocol
    return table(
        ("", ""),
        [
            ("federation, project", f"{evidence.federation}, {evidence.project}"),
            ("job, submitted", f"{evidence.job}, {evidence.submitted_at}"),
            ("product (bundle)", evidence.bundle),
            ("model (weights)", evidence.weights),
            ("reviews", str(evidence.reviews)),
            ("inclusion", "; ".join(evidence.inclusion)),
            ("reference standard", f"{evidence.label}: {protocol.reference}"),
            ("primary endpoint", f"{protocol.endpoint}: {_primary(report)}"),
            *_locked(protocol),
            ("design", str(protocol.design)),
            ("overlap within hospitals", report.overlap_within_hospitals),
            ("overlap between hospitals", report.overlap_between_hospitals),
            ("protocol", evidence.protocol_sha256),
        ],
    )


def _locked(protocol: EvaluationProtocol) -> list[tuple[str, str]]:
    rows = []
    if protocol.threshold is not None:
        rows.append(("locked threshold", f"{protocol.threshold:g}"))
    if protocol.hit is not None:
        rows.append(("hit", hit_rule(protocol.hit)))
    return rows


def _primary(report: Report) -> str:
    if report.pooled is None:
        return page_places.primary(report)
    endpoint = report.evidence.protocol.endpoint
    if endpoint is Endpoint.AUC:
        return _auc(report.pooled.auc)
    return share(report.pooled.shares[endpoint])


def _flow(report: Report) -> str:
    flow = report.flow
    away = [f"{number} {reason}" for reason, number in flow.not_reporting.items()]
    failed = [
        f"{number} {name.replace('_', ' ')}"
        for name, number in flow.patients_unscored.items()
        if number
    ]
    if flow.patients_unreferenced:
        failed.append(f"{flow.patients_unreferenced} with a finding that nobody drew")
    met = flow.patients_scored + sum(flow.patients_unscored.values()) + flow.patients_unreferenced
    return flow_diagram(
        [
            (f"{flow.hospitals_asked} hospitals asked", away),
            (f"{flow.hospitals_reporting} hospitals with figures", [f"{flow.timeouts} timed out"]),
            (f"{met} patients tested", failed),
            (f"{flow.patients_scored} patients scored", []),
        ]
    )


def _pooled(report: Report) -> str:
    if report.detection is not None or report.overlap is not None:
        return page_places.pooled(report)
    if report.pooled is None:
        return "<p>No hospital gave figures: nothing can be said of this product.</p>"
    found = report.pooled
    rows = [
        ("patients with, without the finding", f"{found.positives}, {found.negatives}"),
        ("AUC (DeLong)", _auc(found.auc)),
        ("AUPRC", number(found.average_precision)),
        *((name, share(each)) for name, each in found.shares.items()),
    ]
    if found.calibration is not None:
        rows += [
            ("calibration slope", _estimate(found.calibration.slope)),
            ("calibration intercept", _estimate(found.calibration.intercept)),
            ("Brier score", f"{found.calibration.brier:.4f}"),
            ("ECE", f"{found.calibration.ece:.4f}"),
        ]
    curve = found.calibration.curve if found.calibration else ()
    plots = roc_plot([report.roc]) + calibration_plot(curve)
    return table(("measure", "value (95 %)"), rows) + f'<div class="plots">{plots}</div>'


def _sites(report: Report) -> str:
    if report.evidence.protocol.predictions is not Predictions.SCORES:
        return page_places.sites(report)
    rows: list[tuple[str, Auc | None]] = [
        (one.site, one.figures.auc if one.figures else None) for one in report.sites
    ]
    if report.pooled is not None:
        rows.append(("all together", report.pooled.auc))
    within, words = report.within_site, "<p>Too few hospitals to compare them.</p>"
    if within is not None:
        rows.append(("within hospitals", Auc(within.value, within.low, within.high, 0, 0)))
        expected = (
            f"; a further hospital is expected between {within.prediction_low:.3f} and "
            f"{within.prediction_high:.3f}"
            if within.prediction_low is not None and within.prediction_high is not None
            else ""
        )
        words = (
            f"<p>Heterogeneity of {within.sites} hospitals: Q = {within.q:.2f} "
            f"(p = {within.p:.3f}), I&sup2; = {within.i2:.1%}, tau&sup2; = {within.tau2:.4f} on "
            f"the logit scale{expected}.</p>"
        )
    forest = forest_plot(rows)
    if report.secure_sum:
        forest, words = "", f"<p>{NOT_BY_HOSPITAL}</p>"
    bits = {part.site: part.leakage_bits for part in report.evidence.sites}
    listed = [
        (
            one.site, one.outcome, _sizes(one.figures),
            *(share(one.figures.shares[name]) if one.figures else ""
              for name in ("sensitivity", "specificity")),
            str(one.cells_withheld), f"{one.look} ({one.looks_left} left)" if one.look else "",
            f"{bits[one.site]:.0f}",
        )
        for one in report.sites
    ]  # fmt: skip
    columns = ("hospital", "outcome", "with, without", "sensitivity", "specificity",
               "cells withheld", "look", "bits")  # fmt: skip
    return forest + words + table(columns, listed)


def _subgroups(report: Report) -> str:
    if report.evidence.protocol.predictions is not Predictions.SCORES:
        return page_places.subgroups(report)
    rows = [
        (
            one.field, one.bin, _hospitals(one), _sizes(one.figures),
            _auc(one.figures.auc), share(one.figures.shares["sensitivity"]),
            share(one.figures.shares["specificity"]),
        )
        for one in report.subgroups
        if one.figures is not None
    ]  # fmt: skip
    columns = ("field", "group", "hospitals", "with, without", "AUC", "sensitivity", "specificity")
    return table(columns, rows) if rows else "<p>No subgroup could be shown.</p>"


def _hospitals(one: SubgroupReport) -> str:
    return str(len(one.hospitals) or one.hospitals_counted)


def _readers(report: Report) -> str:
    if "readers" in report.not_available:
        return (
            f"<h2>Readers of the reference standard</h2><p>{report.not_available['readers']}.</p>"
        )
    if not report.readers:
        return ""
    rows = [
        (
            one.site, str(one.readers), str(one.cases),
            number(one.fleiss.value if one.fleiss else None),
            ", ".join(f"{two}: {number(k.value if k else None)}" for two, k in one.cohen.items()),
            ", ".join(f"{a:.2f}/{b:.2f}"
                      for a, b in zip(one.sensitivity, one.specificity, strict=True)),
        )
        for one in report.readers
    ]  # fmt: skip
    columns = ("hospital", "readers", "cases", "Fleiss", "Cohen", "STAPLE sensitivity/specificity")
    return "<h2>Readers of the reference standard</h2>" + table(columns, rows)


def _domain(report: Report, number: int) -> str:
    domain = report.probast_ai[number]
    rows = [(each.question, each.known) for each in domain.statements]
    rows.append(("Judgement", domain.judgement))
    return table((f"{number + 1}. {domain.domain}", ""), rows)


def _sizes(figures: Figures | None) -> str:
    return f"{figures.positives}, {figures.negatives}" if figures else ""


def _auc(auc: Auc | None) -> str:
    return f"{auc.value:.3f} ({auc.low:.3f}-{auc.high:.3f})" if auc else "none"


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return "none: no line fits"
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
