import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from coordinator.evaluation.pool import Histogram, UnlikeHistograms, auc, auc_alone, pool
from protos.scores import BINS, score_bin


def draw(rng, positives, negatives, separation):
    logits = np.concatenate((rng.normal(separation, 1, positives), rng.normal(0, 1, negatives)))
    return 1 / (1 + np.exp(-logits)), np.arange(positives + negatives) < positives


def histogram(scores, truth):
    bins = np.array([score_bin(float(score)) for score in scores], int)
    counts = [np.bincount(bins[truth == side], minlength=BINS).tolist() for side in (True, False)]
    return Histogram(*counts)


def test_the_pooled_auc_of_many_sites_is_that_of_the_pooled_cases():
    rng = np.random.default_rng(1)
    sites = {f"s{i}": draw(rng, 30, 40, 1.5) for i in range(400)}

    pooled = pool({name: histogram(*cases) for name, cases in sites.items()}, BINS)

    scores, truth = (np.concatenate(parts) for parts in zip(*sites.values(), strict=True))
    assert pooled.auc.value == pytest.approx(roc_auc_score(truth, scores), abs=0.0005)
    assert (pooled.auc.positives, pooled.auc.negatives) == (12_000, 16_000)
    for name, cases in list(sites.items())[:20]:
        exact = roc_auc_score(cases[1], cases[0])
        assert pooled.sites[name].value == pytest.approx(exact, abs=0.02)


@given(
    st.lists(st.integers(0, 9), min_size=6, max_size=6),
    st.lists(st.integers(0, 9), min_size=6, max_size=6),
)
def test_on_binned_scores_it_equals_scikit_learn_exactly(positives, negatives):
    found = auc(Histogram(positives, negatives))

    if not sum(positives) or not sum(negatives):
        assert found is None
        return
    scores = np.repeat(np.tile(np.arange(6), 2), positives + negatives)
    truth = np.repeat([1, 0], [sum(positives), sum(negatives)])
    assert found.value == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert found.low <= found.value <= found.high


def delong_by_hand(scores, truth):
    """Return DeLong's variance from every pair, as the paper defines it."""
    x, y = scores[truth], scores[~truth]
    wins = (x[:, None] > y).astype(float) + 0.5 * (x[:, None] == y)
    return wins.mean(1).var(ddof=1) / len(x) + wins.mean(0).var(ddof=1) / len(y)


def test_the_interval_is_delongs_on_the_logit_scale():
    rng = np.random.default_rng(2)
    scores = rng.integers(0, 12, 150)
    truth = rng.random(150) < 1 / (1 + np.exp(6 - scores))
    counts = [np.bincount(scores[truth == side], minlength=12).tolist() for side in (True, False)]

    found = auc(Histogram(*counts))

    value, variance = roc_auc_score(truth, scores), delong_by_hand(scores, truth)
    half = 1.959963984540054 * math.sqrt(variance) / (value * (1 - value))
    middle = math.log(value / (1 - value))
    assert found.low == pytest.approx(1 / (1 + math.exp(half - middle)), abs=1e-12)
    assert found.high == pytest.approx(1 / (1 + math.exp(-half - middle)), abs=1e-12)


@pytest.mark.parametrize("true_auc", [0.7, 0.85, 0.95])
def test_the_interval_covers_the_truth_as_often_as_it_says(true_auc):
    from scipy.stats import norm

    rng = np.random.default_rng(3)
    separation = math.sqrt(2) * norm.ppf(true_auc)

    covered = 0
    for _ in range(400):
        found = auc(histogram(*draw(rng, 250, 250, separation)))
        covered += found.low <= true_auc <= found.high

    assert 0.92 <= covered / 400 <= 0.98


def test_classes_that_separate_wholly_are_not_claimed_certain():
    found = auc(Histogram([0, 0, 12], [30, 0, 0]))

    assert (found.value, found.high) == (1.0, 1.0)
    assert 0.7 < found.low < 0.8


def test_a_site_with_one_class_still_counts_in_the_pool():
    pooled = pool({"a": Histogram([0, 5], [0, 0]), "b": Histogram([0, 0], [5, 0])}, 2)

    assert pooled.sites == {"a": None, "b": None}
    assert pooled.auc.value == 1.0


def test_no_sites_have_no_figure():
    assert pool({}, BINS).auc is None


@pytest.mark.parametrize("odd", [([1, 2], [1, 2, 3]), ([1, 2, 3], [1, -1, 3]), ([], [])])
def test_other_bins_than_the_protocols_are_refused(odd):
    with pytest.raises(UnlikeHistograms):
        pool({"a": Histogram([1, 1, 1], [1, 1, 1]), "b": Histogram(*odd)}, 3)


def test_the_auc_alone_is_the_one_that_comes_with_an_interval():
    for counts in (((0, 3, 5), (4, 2, 1)), ((1,), (1,)), ((), ())):
        whole = auc(Histogram(*counts))

        assert auc_alone(Histogram(*counts)) == (None if whole is None else whole.value)
