"""A small run of `python -m tests.bench evaluation`, so that a wrong interval fails a change."""

from pathlib import Path

import pytest

from tests.bench.evaluation import bench
from tests.bench.registry import Terms


@pytest.mark.parametrize("case", ["n 500, AUC 0.9", "FROC", "pooled"])
def test_intervals_cover_and_pooling_loses_little(monkeypatch, case):
    monkeypatch.setattr(bench, "QUICK", 250)
    terms = Terms(
        quick=True, rounds=1, only=frozenset(), cases=(case,), directory=Path(), say=lambda _: None
    )

    rows = bench.run(terms)

    judged = [row for row in rows if row.goal is not None]
    assert judged
    for row in judged:
        low = 91.0 if row.unit == "% covered" else 0.0  # four standard errors of 250 simulations
        assert low <= row.median <= 99.5, row.measure
    assert all(row.met for row in judged if row.unit == "AUC")
