import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, roc_curve
from statsmodels.api import GLM, add_constant, families
from statsmodels.stats.proportion import proportion_confint

from coordinator.evaluation.calibration import calibrate
from coordinator.evaluation.curves import average_precision, roc
from coordinator.evaluation.intervals import Confusion, at_threshold, share
from coordinator.evaluation.pool import Histogram
from protos.scores import BINS, MIDDLES, score_bin

SMALL = st.lists(st.integers(0, 9), min_size=6, max_size=6)


def cases(histogram):
    """Return every binned case by itself: the table the oracles work on."""
    bins = np.arange(len(histogram.positives))
    scores = np.repeat(np.tile(bins, 2), [*histogram.positives, *histogram.negatives])
    return np.repeat([1, 0], [sum(histogram.positives), sum(histogram.negatives)]), scores


def drawn(seed, slope=1.0, intercept=0.0, number=600):
    rng = np.random.default_rng(seed)
    logits = rng.normal(-0.5, 2, number)
    truth = rng.random(number) < 1 / (1 + np.exp(-(intercept + slope * logits)))
    bins = [score_bin(float(score)) for score in 1 / (1 + np.exp(-logits))]
    counts = [
        np.bincount(np.array(bins)[truth == side], minlength=BINS).tolist()
        for side in (True, False)
    ]
    return Histogram(*counts)


@given(st.integers(0, 400), st.integers(1, 400))
def test_a_share_has_wilsons_interval(count, of):
    count = min(count, of)

    found = share(count, of)

    low, high = proportion_confint(count, of, 0.05, "wilson")
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)


def test_nobody_has_no_share():
    found = at_threshold(Confusion(0, 0, 3, 7))

    assert found["sensitivity"] is None
    assert found["specificity"].value == 0.7
    assert found["ppv"].value == 0.0
    assert found["npv"].value == 1.0


@given(SMALL, SMALL)
def test_curves_are_scikit_learns(positives, negatives):
    histogram = Histogram(positives, negatives)
    if not sum(positives) or not sum(negatives):
        assert roc(histogram) == []
        return
    truth, scores = cases(histogram)

    expected = roc_curve(truth, scores, drop_intermediate=False)

    assert average_precision(histogram) == pytest.approx(
        average_precision_score(truth, scores), abs=1e-9
    )
    assert [p.false_positive_rate for p in roc(histogram)] == pytest.approx(expected[0].tolist())
    assert [p.sensitivity for p in roc(histogram)] == pytest.approx(expected[1].tolist())


def test_no_positive_has_no_precision():
    assert average_precision(Histogram([0, 0], [3, 4])) is None


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.4, 0.8), (1.7, -1.2)])
def test_calibration_is_statsmodels_and_scikit_learns(slope, intercept):
    histogram = drawn(7, slope, intercept)
    truth, bins = cases(histogram)
    logits = np.array(MIDDLES)[bins]
    scores = 1 / (1 + np.exp(-logits))

    found = calibrate(histogram)

    model = GLM(truth, add_constant(logits), families.Binomial()).fit(tol=1e-14)
    assert (found.intercept.value, found.slope.value) == pytest.approx(model.params, abs=1e-9)
    assert (found.slope.low, found.slope.high) == pytest.approx(model.conf_int()[1], abs=1e-7)
    assert found.brier == pytest.approx(brier_score_loss(truth, scores), abs=1e-9)
    group = np.minimum((scores * 10).astype(int), 9)
    ece = sum(
        abs(scores[group == g].mean() - truth[group == g].mean()) * (group == g).sum()
        for g in np.unique(group)
    )
    assert found.ece == pytest.approx(ece / len(truth), abs=1e-9)
    assert sum(point.cases for point in found.curve) == len(truth)


@pytest.mark.parametrize(
    "histogram",
    [
        Histogram([0] * 150 + [9] * 50, [9] * 50 + [0] * 150),  # they separate: no maximum
        Histogram([0] * BINS, [1] * BINS),  # one class
        Histogram([0] * 100 + [5] + [0] * 99, [0] * 100 + [5] + [0] * 99),  # one point
    ],
)
def test_where_no_line_fits_none_is_claimed(histogram):
    found = calibrate(histogram)

    assert found.slope is None
    assert math.isfinite(found.brier)


def test_no_case_has_no_calibration():
    assert calibrate(Histogram([0] * BINS, [0] * BINS)) is None
