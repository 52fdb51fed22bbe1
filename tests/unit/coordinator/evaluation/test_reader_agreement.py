from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa

from coordinator.evaluation.agreement import cohen, fleiss, pairs, staple
from gateway.evaluate.readers import readings

PATTERNS = tuple(product((0, 1), repeat=3))


def counted(counts):
    return dict(zip(PATTERNS, counts, strict=True))


@given(st.lists(st.integers(0, 20), min_size=8, max_size=8))
def test_kappas_are_those_of_the_oracles(counts):
    patterns = counted(counts)
    if sum(counts) == 0:
        assert fleiss(patterns) is None
        assert cohen(patterns, 0, 1) is None
        return
    calls = np.array([p for p, n in patterns.items() for _ in range(n)])

    for (one, other), found in pairs(patterns).items():
        if found.value is not None:
            expected = cohen_kappa_score(calls[:, one], calls[:, other])
            assert found.value == pytest.approx(expected, abs=1e-9)
    found = fleiss(patterns)
    if found.value is not None:
        table = np.column_stack((3 - calls.sum(1), calls.sum(1)))
        assert found.value == pytest.approx(fleiss_kappa(table), abs=1e-9)


def test_staple_finds_who_reads_well():
    rng = np.random.default_rng(9)
    truth = rng.random(20_000) < 0.3
    sensitivity, specificity = (0.95, 0.8, 0.6), (0.97, 0.9, 0.85)
    patterns = dict.fromkeys(PATTERNS, 0)
    for positive in truth:
        reads = tuple(
            int(rng.random() < (s if positive else 1 - c))
            for s, c in zip(sensitivity, specificity, strict=True)
        )
        patterns[reads] += 1

    found = staple(patterns)

    assert found.prevalence == pytest.approx(0.3, abs=0.03)
    assert found.sensitivity == pytest.approx(sensitivity, abs=0.05)
    assert found.specificity == pytest.approx(specificity, abs=0.03)
    assert found.consensus[1, 1, 1] > 0.99
    assert found.consensus[0, 0, 0] < 0.02


def test_readers_who_always_agree_are_believed():
    found = staple({(0, 0): 30, (1, 1): 10})

    assert found.consensus == pytest.approx({(0, 0): 0, (1, 1): 1}, abs=1e-6)
    assert staple({}) is None
    assert cohen({(1, 1): 40}, 0, 1).value is None  # chance alone agrees always


def test_patterns_are_counted_over_cases_that_all_have_read():
    calls = [(f"c{i}", reader, i % 2) for i in range(24) for reader in ("anna", "bo")]
    calls += [("c1", "seldom", 1), ("c2", "seldom", 1)]

    found = readings(calls)

    assert (found.readers, found.patterns) == (2, (12, 0, 0, 12))
    assert found.bits > 0


def test_under_twenty_cases_no_pattern_is_given():
    assert readings([(f"c{i}", r, 1) for i in range(19) for r in "ab"]) is None
    assert readings([(f"c{i}", "alone", 1) for i in range(100)]) is None
    assert readings([]) is None
