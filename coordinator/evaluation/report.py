"""From evidence to report: every figure is made here, and made again by whoever checks it."""

from base64 import b64decode
from collections import Counter
from collections.abc import Mapping, Sequence

from coordinator.evaluation.agreement import Pattern, fleiss, pairs, staple
from coordinator.evaluation.calibration import calibrate
from coordinator.evaluation.comparison import Joint, compare, mcnemar
from coordinator.evaluation.curves import average_precision, roc
from coordinator.evaluation.document import (
    ComparisonReport,
    Evidence,
    Figures,
    Flow,
    ReaderReport,
    Report,
    SiteEvidence,
    SiteReport,
    SubgroupReport,
)
from coordinator.evaluation.heterogeneity import within_site
from coordinator.evaluation.intervals import Confusion, at_threshold
from coordinator.evaluation.pool import Histogram, auc
from coordinator.evaluation.probast import domains
from protos.evaluation import MODEL, Design, EvaluationProtocol, model_bin
from protos.scores import BINS, JOINT_BINS
from protos.v1.job_pb2 import EvaluationCell, EvaluationStatistics

TIMEOUTS = frozenset({"wall_limit", "deadline_passed", "no_report"})
UNSCORED = ("missing_positives", "missing_negatives", "unusable_positives", "unusable_negatives")
DISCLOSURE = (
    "there is no secure sum yet: the coordinator sees each hospital's counts; a hospital shows a "
    "cell from 10 patients with and 10 without the finding, and none by which a smaller one could "
    "be found by subtraction; a histogram of n cases is charged log2 C(n + 199, 199) bits"
)
WITHIN = {
    Design.EXTERNAL: "none: no hospital of this test trains on the label",
    Design.INTERNAL: "none: patients of the test split enter no training workspace",
}
Said = Mapping[str, EvaluationStatistics]


def build(evidence: Evidence) -> Report:
    """Make the whole report; the same evidence always gives the same one."""
    said = {
        part.site: EvaluationStatistics.FromString(b64decode(part.statistics))
        for part in evidence.sites
        if part.statistics
    }
    sites = tuple(_site(part, said.get(part.site)) for part in evidence.sites)
    whole = [each.cells[0] for each in said.values()]
    pooled = figures(whole) if whole else None
    flow = _flow(evidence.sites, said)
    subgroups = tuple(_subgroups(evidence.protocol, said))
    return Report(
        evidence=evidence,
        flow=flow,
        pooled=pooled,
        roc=tuple(roc(_sum(whole))) if whole else (),
        within_site=within_site(
            {one.site: one.figures.auc if one.figures else None for one in sites}
        ),
        sites=sites,
        subgroups=subgroups,
        comparison=_comparison(said),
        readers=tuple(_readers(site, each) for site, each in said.items() if each.readers.counts),
        overlap_within_hospitals=WITHIN[evidence.protocol.design],
        disclosure=DISCLOSURE,
        probast_ai=domains(evidence, flow, pooled, sites, subgroups),
    )


def figures(cells: Sequence[EvaluationCell]) -> Figures:
    """Pool cells of the same group, bin by bin."""
    total = _sum(cells)
    positives, negatives = sum(total.positives), sum(total.negatives)
    hits, alarms = (
        sum(cell.true_positives for cell in cells),
        sum(cell.false_positives for cell in cells),
    )
    table = Confusion(hits, positives - hits, alarms, negatives - alarms)
    return Figures(
        positives=positives,
        negatives=negatives,
        auc=auc(total),
        average_precision=average_precision(total),
        shares=at_threshold(table),
        calibration=calibrate(total),
    )


def _sum(cells: Sequence[EvaluationCell]) -> Histogram:
    zeros = [0] * BINS
    columns = (
        zip(zeros, *(getattr(cell, side) for cell in cells), strict=True)
        for side in ("positives", "negatives")
    )
    return Histogram(*([sum(column) for column in side] for side in columns))


def _site(part: SiteEvidence, said: EvaluationStatistics | None) -> SiteReport:
    if said is None:
        return SiteReport(
            site=part.site, outcome=_why(part), figures=None, cells_withheld=0, look=0, looks_left=0
        )
    return SiteReport(
        site=part.site,
        outcome="released",
        figures=figures(said.cells[:1]),
        cells_withheld=said.cells_withheld,
        look=said.look,
        looks_left=said.looks_left,
    )


def _why(part: SiteEvidence) -> str:
    stage = part.state or part.decision
    return f"{stage}: {part.code}" if part.code else stage


def _flow(sites: Sequence[SiteEvidence], said: Said) -> Flow:
    unscored = Counter(dict.fromkeys(UNSCORED, 0))
    for each in said.values():
        unscored.update({name: getattr(each.unscored, name) for name in UNSCORED})
    whole = [each.cells[0] for each in said.values()]
    return Flow(
        hospitals_asked=len(sites),
        hospitals_reporting=len(said),
        not_reporting=dict(sorted(Counter(_why(p) for p in sites if p.site not in said).items())),
        patients_scored=sum(sum(cell.positives) + sum(cell.negatives) for cell in whole),
        patients_unscored=dict(unscored),
        timeouts=sum(part.code in TIMEOUTS for part in sites),
    )


def _subgroups(protocol: EvaluationProtocol, said: Said) -> list[SubgroupReport]:
    models = {model_bin(number): name for number, name in enumerate(protocol.models, 1)}
    held: dict[tuple[str, str], dict[str, EvaluationCell]] = {}
    for site, each in said.items():
        for cell in each.cells[1:]:
            held.setdefault((cell.field, cell.bin), {})[site] = cell
    return [
        SubgroupReport(
            field=field,
            bin=models.get(bin_, bin_) if field == MODEL else bin_,
            hospitals=tuple(cells),
            figures=figures(list(cells.values())),
        )
        for (field, bin_), cells in sorted(held.items())
    ]


def _comparison(said: Said) -> ComparisonReport | None:
    compared = {site: each.comparison for site, each in said.items() if each.HasField("comparison")}
    if not compared:
        return None
    sides = []
    for side in ("positive", "negative"):
        table = [[0] * JOINT_BINS for _ in range(JOINT_BINS)]
        for each in compared.values():
            cells, counts = getattr(each, f"{side}_cells"), getattr(each, f"{side}_counts")
            for cell, count in zip(cells, counts, strict=True):
                table[cell // JOINT_BINS][cell % JOINT_BINS] += count
        sides.append(table)
    return ComparisonReport(
        other_bundle=next(iter(compared.values())).other_bundle.hex(),
        hospitals=tuple(compared),
        positives=sum(map(sum, sides[0])),
        negatives=sum(map(sum, sides[1])),
        auc=compare(Joint(*sides)),
        calls=mcnemar(
            sum(each.this_alone for each in compared.values()),
            sum(each.other_alone for each in compared.values()),
        ),
    )


def _readers(site: str, said: EvaluationStatistics) -> ReaderReport:
    number = said.readers.readers
    patterns: dict[Pattern, int] = {
        tuple(at >> i & 1 for i in range(number)): count
        for at, count in enumerate(said.readers.counts)
    }
    truth = staple(patterns)
    return ReaderReport(
        site=site,
        readers=number,
        cases=sum(patterns.values()),
        fleiss=fleiss(patterns),
        cohen={f"{a + 1}-{b + 1}": kappa for (a, b), kappa in pairs(patterns).items()},
        prevalence=truth.prevalence if truth else None,
        sensitivity=truth.sensitivity if truth else (),
        specificity=truth.specificity if truth else (),
        consensus=(
            {"".join(map(str, p)): value for p, value in truth.consensus.items()} if truth else {}
        ),
    )
