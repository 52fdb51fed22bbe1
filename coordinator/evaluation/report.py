"""From evidence to report: every figure is made here, and made again by whoever checks it."""

from base64 import b64decode
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from coordinator.evaluation.calibration import calibrate
from coordinator.evaluation.comparison import Joint, compare, mcnemar
from coordinator.evaluation.curves import average_precision, roc
from coordinator.evaluation.document import (
    ComparisonReport,
    Evidence,
    Figures,
    Flow,
    Report,
    SiteEvidence,
    SiteReport,
    SubgroupReport,
)
from coordinator.evaluation.heterogeneity import within_site
from coordinator.evaluation.intervals import Confusion, at_threshold
from coordinator.evaluation.overlap import dice
from coordinator.evaluation.paired_places import boxes, masks
from coordinator.evaluation.places import curve, detection, overlap
from coordinator.evaluation.pool import Histogram, auc
from coordinator.evaluation.probast import domains
from coordinator.evaluation.reading import of_calls, of_voxels
from coordinator.evaluation.summed import Added, add_up, not_available
from protos.evaluation import MODEL, Design, EvaluationProtocol, Predictions, model_bin
from protos.scores import BINS, JOINT_BINS
from protos.v1.job_pb2 import (
    DetectionCell,
    EvaluationCell,
    EvaluationStatistics,
    OverlapCell,
    ProductComparison,
)

MISPLACED = ("misplaced_positives", "misplaced_negatives")
TIMEOUTS = frozenset({"wall_limit", "deadline_passed", "no_report"})
UNSCORED = ("missing_positives", "missing_negatives", "unusable_positives", "unusable_negatives")
DISCLOSURE = (
    "there is no secure sum yet: the coordinator sees each hospital's counts; a hospital shows a "
    "cell from 10 patients with and 10 without the finding, and none by which a smaller one could "
    "be found by subtraction; a histogram of n cases is charged log2 C(n + 199, 199) bits"
)
DISCLOSURE_OF_A_SUM = (
    "pooled by secure sum: the coordinator learned the hospitals' sums alone; a hospital counts in "
    "a cell from 10 patients with and 10 without the finding of its own, and none by which a "
    "smaller one could be found by subtraction; it is charged as if its histograms were seen"
)
WITHIN = {
    Design.EXTERNAL: "none: no hospital of this test trains on the label",
    Design.INTERNAL: "none: patients of the test split enter no training workspace",
}
TOGETHER = ""  # no hospital's name: what a secure sum gives is of nobody by itself
Said = Mapping[str, EvaluationStatistics]


def build(evidence: Evidence) -> Report:
    """Make the whole report; the same evidence always gives the same one."""
    own = {
        part.site: EvaluationStatistics.FromString(b64decode(part.statistics))
        for part in evidence.sites
        if part.statistics
    }
    sites = tuple(_site(part, own.get(part.site)) for part in evidence.sites)
    added = add_up(evidence)
    said = own if added is None else {TOGETHER: added.statistics}
    whole = [cell for each in said.values() for cell in each.cells[:1]]
    pooled = figures(whole) if whole else None
    searched = [cell for each in said.values() for cell in each.detections[:1]]
    drawn = [cell for each in said.values() for cell in each.overlaps[:1]]
    found = curve(searched)
    flow = _flow(evidence, own, said)
    subgroups = tuple(_subgroups(evidence.protocol, said))
    comparison = _comparison(said)
    if added is not None:
        subgroups = tuple(_counted(one, evidence.protocol, added) for one in subgroups)
        comparison = comparison and comparison.model_copy(
            update={"hospitals": (), "hospitals_counted": added.compared}
        )
    return Report(
        evidence=evidence,
        flow=flow,
        pooled=pooled,
        roc=tuple(roc(_sum(whole))) if whole else (),
        detection=detection(searched) if searched else None,
        froc=found.points if found else (),
        overlap=overlap(drawn) if drawn else None,
        within_site=within_site(
            {one.site: one.figures.auc if one.figures else None for one in sites}
        ),
        sites=sites,
        subgroups=subgroups,
        comparison=comparison,
        readers=tuple(of_calls(site, each) for site, each in said.items() if each.readers.counts),
        reader_dice={
            site: alike
            for site, each in said.items()
            if (alike := dice([each.reader_dice] if each.reader_dice else [])) is not None
        },
        voxel_readers=tuple(
            told
            for site, each in said.items()
            if (told := of_voxels(site, each.voxel_readers)) is not None
        ),
        overlap_within_hospitals=WITHIN[evidence.protocol.design],
        secure_sum=evidence.is_summed,
        not_available=not_available(evidence.protocol) if evidence.is_summed else {},
        disclosure=DISCLOSURE_OF_A_SUM if evidence.is_summed else DISCLOSURE,
        probast_ai=domains(evidence, flow, _events(pooled, searched, drawn), sites, subgroups),
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
        outcome="in the secure sum" if said.HasField("summed") else "released",
        **_figures(said.cells[:1], said.detections[:1], said.overlaps[:1]),
        cells_withheld=said.cells_withheld,
        look=said.look,
        looks_left=said.looks_left,
    )


def _why(part: SiteEvidence) -> str:
    stage = part.state or part.decision
    return f"{stage}: {part.code}" if part.code else stage


def _figures(
    cells: Sequence[EvaluationCell],
    searched: Sequence[DetectionCell],
    drawn: Sequence[OverlapCell],
) -> dict[str, Any]:
    """Return the figures of one group, of whichever kind its cells are."""
    return {
        "figures": figures(cells) if cells else None,
        "detection": detection(searched) if searched else None,
        "overlap": overlap(drawn) if drawn else None,
    }


def _events(
    pooled: Figures | None, searched: Sequence[DetectionCell], drawn: Sequence[OverlapCell]
) -> tuple[int, int]:
    """Return how many patients with and without the finding there were."""
    if pooled is not None:
        return pooled.positives, pooled.negatives
    with_one = sum(one.positives for one in searched) + sum(one.positives for one in drawn)
    without = sum(one.negatives for one in searched) + sum(one.negatives for one in drawn)
    return with_one, without


def _flow(evidence: Evidence, own: Said, said: Said) -> Flow:
    sites = evidence.sites
    masks = evidence.protocol.predictions is Predictions.MASKS
    names = UNSCORED + MISPLACED * masks
    unscored = Counter(dict.fromkeys(names, 0))
    for each in said.values():
        unscored.update({name: getattr(each.unscored, name) for name in names})
    return Flow(
        hospitals_asked=len(sites),
        hospitals_reporting=len(own),
        not_reporting=dict(sorted(Counter(_why(p) for p in sites if p.site not in own).items())),
        patients_scored=sum(map(_tested, said.values())),
        patients_unscored=dict(unscored),
        timeouts=sum(part.code in TIMEOUTS for part in sites),
        patients_unreferenced=sum(each.unreferenced for each in said.values()),
    )


def _tested(said: EvaluationStatistics) -> int:
    """Return how many patients one hospital's figures are of."""
    scored = sum(sum(cell.positives) + sum(cell.negatives) for cell in said.cells[:1])
    return scored + sum(_events(None, said.detections[:1], said.overlaps[:1]))


def _names(said: EvaluationStatistics) -> list[tuple[str, str]]:
    scores = [(cell.field, cell.bin) for cell in said.cells[1:]]
    boxes = [(cell.field, cell.bin) for cell in said.detections[1:]]
    return scores + boxes + [(cell.field, cell.bin) for cell in said.overlaps[1:]]


def _subgroups(protocol: EvaluationProtocol, said: Said) -> list[SubgroupReport]:
    models = {model_bin(number): name for number, name in enumerate(protocol.models, 1)}
    held: dict[tuple[str, str], dict[str, EvaluationStatistics]] = {}
    for site, each in said.items():
        for name in _names(each):
            held.setdefault(name, {})[site] = each
    return [
        SubgroupReport(
            field=field,
            bin=models.get(bin_, bin_) if field == MODEL else bin_,
            hospitals=tuple(sites),
            **_figures(
                *(
                    [
                        cell
                        for each in sites.values()
                        for cell in getattr(each, kind)
                        if (cell.field, cell.bin) == (field, bin_)
                    ]
                    for kind in ("cells", "detections", "overlaps")
                )
            ),
        )
        for (field, bin_), sites in sorted(held.items())
    ]


def _counted(one: SubgroupReport, protocol: EvaluationProtocol, added: Added) -> SubgroupReport:
    """Say of how many hospitals a group is, where nobody knows of which."""
    bin_ = one.bin
    if one.field == MODEL and bin_ in protocol.models:
        bin_ = model_bin(protocol.models.index(bin_) + 1)
    counted = added.shown[one.field, bin_]
    return one.model_copy(update={"hospitals": (), "hospitals_counted": counted})


def _comparison(said: Said) -> ComparisonReport | None:
    compared = {site: each.comparison for site, each in said.items() if each.HasField("comparison")}
    if not compared:
        return None
    first = next(iter(compared.values()))
    if first.HasField("boxes") or first.HasField("masks"):
        return _of_places(compared)
    sides = []
    for side in ("positive", "negative"):
        table = [[0] * JOINT_BINS for _ in range(JOINT_BINS)]
        for each in compared.values():
            cells, counts = getattr(each, f"{side}_cells"), getattr(each, f"{side}_counts")
            for cell, count in zip(cells, counts, strict=True):
                table[cell // JOINT_BINS][cell % JOINT_BINS] += count
        sides.append(table)
    return ComparisonReport(
        other_bundle=first.other_bundle.hex(),
        hospitals=tuple(compared),
        positives=sum(map(sum, sides[0])),
        negatives=sum(map(sum, sides[1])),
        auc=compare(Joint(*sides)),
        calls=mcnemar(
            sum(each.this_alone for each in compared.values()),
            sum(each.other_alone for each in compared.values()),
        ),
    )


def _of_places(compared: Mapping[str, ProductComparison]) -> ComparisonReport:
    found = boxes([each.boxes for each in compared.values() if each.HasField("boxes")])
    drawn = masks([each.masks for each in compared.values() if each.HasField("masks")])
    return ComparisonReport(
        other_bundle=next(iter(compared.values())).other_bundle.hex(),
        hospitals=tuple(compared),
        positives=(found.positives if found else 0) + (drawn.patients if drawn else 0),
        negatives=found.negatives if found else 0,
        auc=None,
        calls=None,
        boxes=found,
        masks=drawn,
    )
