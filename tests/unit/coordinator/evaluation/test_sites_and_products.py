import math

import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.meta_analysis import combine_effects

from coordinator.evaluation.comparison import Joint, compare, mcnemar
from coordinator.evaluation.heterogeneity import within_site
from coordinator.evaluation.pool import Auc, Histogram, auc


def a_site(value, variance):
    return Auc(value, 0, 1, 50, 50, variance)


def test_sites_are_combined_as_statsmodels_does():
    values = [0.81, 0.86, 0.93, 0.72, 0.88]
    variances = [0.0009, 0.0004, 0.0002, 0.0015, 0.0007]
    sites = {str(i): a_site(*pair) for i, pair in enumerate(zip(values, variances, strict=True))}

    found = within_site(sites)

    value = np.array(values)
    logit = np.log(value / (1 - value))
    spread = np.array(variances) / (value * (1 - value)) ** 2
    expected = combine_effects(logit, spread, method_re="dl")
    assert found.q == pytest.approx(expected.q, abs=1e-9)
    assert found.tau2 == pytest.approx(expected.tau2, abs=1e-9)
    assert found.i2 == pytest.approx(expected.i2, abs=1e-9)
    middle = float(expected.mean_effect_re)
    assert found.value == pytest.approx(1 / (1 + math.exp(-middle)), abs=1e-9)
    assert found.p == pytest.approx(expected.test_homogeneity().pvalue, abs=1e-9)
    assert found.prediction_low < found.low < found.value < found.high < found.prediction_high


def test_sites_without_a_spread_say_nothing_of_heterogeneity():
    certain, alone = Auc(1.0, 0.7, 1.0, 9, 9, 0.0), Auc(0.8, 0, 1, 1, 9, math.inf)

    assert within_site({"a": certain, "b": alone, "c": None, "d": a_site(0.8, 0.01)}) is None
    assert within_site({}) is None


def by_hand(first, second, truth):
    """Return DeLong's paired z from every pair, as the paper defines it."""
    placed = []
    for scores in (first, second):
        x, y = scores[truth], scores[~truth]
        wins = (x[:, None] > y).astype(float) + 0.5 * (x[:, None] == y)
        placed.append((wins.mean(1), wins.mean(0), wins.mean()))
    (a10, a01, a), (b10, b01, b) = placed
    covariance = np.cov(a10, b10) / len(a10) + np.cov(a01, b01) / len(a01)
    return a, b, (a - b) / math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])


def test_two_products_are_compared_as_delong_does():
    rng = np.random.default_rng(4)
    truth = rng.random(300) < 0.4
    seen = truth + rng.normal(0, 1, 300)
    first = np.clip((seen * 4 + 8 + rng.normal(0, 1, 300)).astype(int), 0, 24)
    second = np.clip((seen * 3 + 8 + rng.normal(0, 4, 300)).astype(int), 0, 24)
    tables = []
    for side in (True, False):
        table = np.zeros((25, 25), int)
        np.add.at(table, (first[truth == side], second[truth == side]), 1)
        tables.append(table.tolist())

    found = compare(Joint(*tables))

    a, b, z = by_hand(first, second, truth)
    assert (found.first, found.second, found.z) == pytest.approx((a, b, z), abs=1e-9)
    assert found.low < found.difference < found.high
    marginal = Histogram(np.sum(tables[0], axis=1).tolist(), np.sum(tables[1], axis=1).tolist())
    assert found.first == pytest.approx(auc(marginal).value, abs=1e-12)


def test_a_product_compared_with_itself_does_not_differ():
    same = np.diag([3, 4, 5]).tolist()

    found = compare(Joint(same, same))

    assert (found.difference, found.z, found.p) == (0, 0, 1)


def test_one_class_cannot_be_compared():
    assert compare(Joint([[0, 0], [0, 0]], [[3, 4], [1, 2]])) is None


@pytest.mark.parametrize(("first", "second"), [(12, 3), (0, 0), (5, 5), (40, 61)])
def test_mcnemar_is_the_exact_binomial_test(first, second):
    expected = binomtest(first, first + second).pvalue if first + second else 1.0

    assert mcnemar(first, second).p == pytest.approx(expected, abs=1e-9)
