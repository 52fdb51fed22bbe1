"""Two detectors, two segmenters: each figure is that of the pooled patients, one by one."""

import json
from hashlib import sha256

import numpy as np
import pytest
from scipy.stats import binomtest, norm, ttest_rel, wilcoxon
from statsmodels.regression.linear_model import OLS

from coordinator.evaluation.document import Report
from coordinator.evaluation.page import draw
from coordinator.evaluation.paired_places import boxes, masks
from coordinator.evaluation.report import build
from coordinator.training.statistics import are_sound
from gateway.desk.beside import paired_detections, paired_overlaps
from gateway.evaluate.paired_boxes import paired_searches
from gateway.evaluate.paired_masks import paired_dice
from gateway.release.statistics import check_statistics, statistics_bits
from protos.evaluation import EvaluationProtocol
from protos.overlap import DIFFERENCE_BINS, difference_bin
from protos.reports import statistics_statement
from protos.scores import BINS, FALSE_MARKS
from protos.v1 import job_pb2
from tests.bench.evaluation import paired
from tests.fakes.tested import evidence, released, signature_of
from tests.fakes.two_finders import HIT, dices, of_boxes, of_masks, pairs, resampled

COMMON = {"test_set": "lungs-2026", "reference": "Two radiologists.", "compare_with": "0e" * 32}
BOXES = EvaluationProtocol(**COMMON, predictions="boxes", endpoint="froc", threshold=0.5, hit=HIT)
MASKS = EvaluationProtocol(**COMMON, predictions="masks", endpoint="dice")
SITES = {"ankang": (1, 90), "beihai": (2, 140)}
EXACT = 1e-9


@pytest.fixture(scope="module")
def found():
    return {site: list(pairs(np.random.default_rng(seed), number))
            for site, (seed, number) in SITES.items()}  # fmt: skip


@pytest.fixture(scope="module")
def reported(found):
    sites = [released(site, of_boxes(listed)) for site, listed in found.items()]
    return build(evidence(sites, protocol=BOXES))


@pytest.fixture(scope="module")
def drawn():
    return {site: dices(np.random.default_rng(seed), number)
            for site, (seed, number) in SITES.items()}  # fmt: skip


@pytest.fixture(scope="module")
def laid(drawn):
    sites = [released(site, of_masks(*both)) for site, both in drawn.items()]
    return build(evidence(sites, protocol=MASKS))


def lone(found):
    """Return hits of both at their thresholds, findings and lone finds, patient by patient."""
    patients = [each for listed in found.values() for _positive, each in listed]
    return [
        np.array([pick(each) for each in patients])
        for pick in (
            lambda each: each.first.hits[BINS],
            lambda each: each.second.hits[BINS],
            lambda each: each.first.lesions,
            lambda each: each.first_alone,
            lambda each: each.second_alone,
        )
    ]


def test_the_difference_of_sensitivities_is_robust_to_clusters(found, reported):
    first, second, lesions, alone, other_alone = lone(found)
    # One row a finding: 1 where the first alone found it, -1 where the second did.
    each = zip(alone, other_alone, lesions, strict=True)
    rows = np.concatenate([[1] * a + [-1] * b + [0] * (n - a - b) for a, b, n in each])
    fit = OLS(rows, np.ones(len(rows))).fit(
        cov_type="cluster", cov_kwds={"groups": np.repeat(np.arange(len(lesions)), lesions)}
    )

    said = reported.comparison.boxes.sensitivity

    # Patients without a finding are clusters, too: they change m / (m - 1) alone.
    m, held = len(lesions), np.count_nonzero(lesions)
    error = fit.bse[0] * np.sqrt(m / (m - 1) * (held - 1) / held)
    assert said.difference == pytest.approx(fit.params[0], abs=EXACT)
    assert said.first - said.second == pytest.approx((first - second).sum() / lesions.sum())
    assert (said.high - said.low) / 2 == pytest.approx(norm.ppf(0.975) * error, abs=EXACT)
    assert said.p == pytest.approx(2 * norm.sf(abs(fit.params[0]) / error), abs=EXACT)


def test_lone_finds_are_weighed_by_patients(found, reported):
    first, second, _lesions, alone, other_alone = lone(found)

    said = reported.comparison.boxes.found

    z = (first - second).sum() / np.sqrt(((first - second) ** 2).sum())
    assert (said.first_alone, said.second_alone) == (alone.sum(), other_alone.sum())
    assert said.z == pytest.approx(z, abs=EXACT)
    assert said.p == pytest.approx(2 * norm.sf(abs(z)), abs=EXACT)
    as_if_alone = (first - second).sum() / np.sqrt((alone + other_alone).sum())
    assert abs(said.z) < abs(as_if_alone)  # McNemar of findings takes a patient's for strangers


def test_false_marks_and_the_summary_are_those_of_one_table(found, reported):
    patients = [each for listed in found.values() for _positive, each in listed]
    said = reported.comparison.boxes

    marks = [np.array([getattr(each, side).marks[BINS] for each in patients])
             for side in ("first", "second")]  # fmt: skip
    apart = marks[0] - marks[1]
    half = norm.ppf(0.975) * apart.std(ddof=1) / np.sqrt(len(apart))
    assert said.false_marks.difference == pytest.approx(apart.mean(), abs=EXACT)
    assert said.false_marks.high == pytest.approx(apart.mean() + half, abs=EXACT)

    def summary(side):
        hits = sum(getattr(each, side).hits[:BINS] for each in patients)
        false = sum(getattr(each, side).marks[:BINS] for each in patients) / len(patients)
        lesions = sum(each.first.lesions for each in patients)
        return np.mean([hits[false <= at].max() / lesions for at in FALSE_MARKS])

    assert said.mean_sensitivity.first == pytest.approx(summary("first"), abs=EXACT)
    assert said.mean_sensitivity.second == pytest.approx(summary("second"), abs=EXACT)
    assert 0.02 < said.mean_sensitivity.high - said.mean_sensitivity.difference < 0.12
    assert reported.comparison.hospitals == tuple(SITES)


def test_dice_is_compared_by_pairs(drawn, laid):
    one, other = (np.concatenate([both[at] for both in drawn.values()]) for at in (0, 1))
    rounded = np.round(1000 * one) / 1000, np.round(1000 * other) / 1000

    said = laid.comparison.masks

    direct = ttest_rel(*rounded)
    low, high = direct.confidence_interval(0.95)
    assert said.patients == laid.comparison.positives == len(one)
    assert said.dice.difference == pytest.approx((one - other).mean(), abs=5e-4)
    assert said.dice.difference == pytest.approx((rounded[0] - rounded[1]).mean(), abs=EXACT)
    assert (said.dice.low, said.dice.high) == pytest.approx((low, high), abs=EXACT)
    assert said.dice.p == pytest.approx(direct.pvalue, abs=EXACT)
    thousandths = np.round(1000 * one).astype(int) - np.round(1000 * other).astype(int)
    more, less = (thousandths > 0).sum(), (thousandths < 0).sum()
    assert (said.better.first_alone, said.better.second_alone) == (more, less)
    assert said.better.p == pytest.approx(binomtest(int(more), int(more + less)).pvalue, abs=EXACT)
    binned = [difference_bin(int(each)) - DIFFERENCE_BINS // 2 for each in thousandths]
    ranks = wilcoxon(binned, zero_method="wilcox", correction=False, method="asymptotic")
    assert abs(said.ranks) == pytest.approx(abs(ranks.zstatistic), abs=EXACT)
    assert said.ranks_p == pytest.approx(ranks.pvalue, abs=EXACT)
    exact = wilcoxon(thousandths, zero_method="wilcox", correction=False, method="asymptotic")
    assert said.ranks == pytest.approx(abs(exact.zstatistic), abs=0.15)  # what bins cost


def test_products_that_say_the_same_differ_by_nothing():
    rng = np.random.default_rng(5)
    one, _ = dices(rng, 40)
    alike = masks([paired_overlaps(paired_dice(zip(one, one, strict=True)))])
    assert (alike.dice.difference, alike.dice.p, alike.better.p) == (0.0, 1.0, 1.0)
    assert (alike.ranks, alike.ranks_p) == (None, 1.0)

    same = [(positive, type(each)(each.first, each.first, 0, 0))
            for positive, each in pairs(rng, 60)]  # fmt: skip
    none = boxes([paired_detections(paired_searches(same, resampled()))])
    for figure in (none.sensitivity, none.false_marks, none.mean_sensitivity):
        assert (figure.difference, figure.low, figure.high, figure.p) == (0.0, 0.0, 0.0, 1.0)
    assert boxes([job_pb2.PairedDetections()]) is None
    assert masks([]) is None


def test_a_report_draws_and_keeps_what_was_compared(reported, laid):
    for report, words in (
        (reported, ("Obuchowski 1998", "Yang 2010", "patients resampled")),
        (laid, ("paired, Student", "sign test", "Wilcoxon", "ankang, beihai")),
    ):
        raw = report.model_dump_json()
        page = draw(report, sha256(raw.encode()).hexdigest())
        assert all(word in page for word in words)
        assert Report.model_validate_json(raw) == report
        assert "PairedFigure" in json.dumps(Report.model_json_schema())


def signed(said):
    raw = said.SerializeToString(deterministic=True)
    key = signature_of("x")
    return job_pb2.TaskOutcome(
        task_id="t", statistics=raw, statistics_key=key.public_key().public_bytes_raw(),
        statistics_signature=key.sign(statistics_statement("t", raw)),
    )  # fmt: skip


def test_both_houses_refuse_pairs_that_cannot_be(found, drawn):
    honest = of_boxes(found["ankang"]), of_masks(*drawn["ankang"])
    for said in honest:
        assert check_statistics(signed(said)) is None
        assert are_sound(signed(said))
        plain = job_pb2.EvaluationStatistics.FromString(said.SerializeToString())
        plain.ClearField("comparison")
        assert statistics_bits(said) > statistics_bits(plain) + 50  # the other's words cost, too

    def refused(said, change, *, by_both=True):
        other = job_pb2.EvaluationStatistics.FromString(said.SerializeToString())
        change(other.comparison)
        assert check_statistics(signed(other)) is not None
        assert not by_both or not are_sound(signed(other))

    boxes_, masks_ = honest
    refused(boxes_, lambda pair: setattr(pair.boxes, "this_alone", pair.boxes.this_alone + 1))
    refused(boxes_, lambda pair: setattr(pair.boxes, "hits_products", 1 << 30))
    refused(boxes_, lambda pair: pair.boxes.this_hits.append(0))
    refused(boxes_, lambda pair: pair.boxes.other_hits.__setitem__(0, 1 << 20))
    refused(boxes_, lambda pair: pair.masks.CopyFrom(masks_.comparison.masks))
    refused(boxes_, lambda pair: pair.ClearField("boxes"))
    refused(boxes_, lambda pair: setattr(pair, "this_alone", 1), by_both=False)
    refused(boxes_, lambda pair: setattr(pair.boxes, "summary_spread", 1 << 60), by_both=False)
    refused(masks_, lambda pair: setattr(pair.masks, "squares", 0))
    refused(masks_, lambda pair: pair.masks.differences.__setitem__(0, 9))
    # One patient who was left out would be the whole less the pairs.
    refused(masks_, lambda pair: (setattr(pair.masks, "patients", pair.masks.patients - 1),
                                  _one_less(pair.masks.differences)), by_both=False)  # fmt: skip
    refused(boxes_, lambda pair: setattr(pair.boxes, "negatives", pair.boxes.negatives - 1),
            by_both=False)  # fmt: skip


def _one_less(counts):
    place = next(at for at, count in enumerate(counts) if count)
    counts[place] -= 1


def test_intervals_of_differences_hold_what_is_true():
    held = [paired.covers(np.random.default_rng([seed, 77]), 200) for seed in range(25)]

    for name in held[0]:
        share = np.mean([each[name] for each in held])
        assert share > 0.77, name  # four standard errors of 25 simulations; the bench has more
