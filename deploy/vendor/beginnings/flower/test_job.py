import os
import shutil
from pathlib import Path

import job
import numpy as np
import pytest
from lesions.task import fit, load_data, loss

from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner

RUNTIME = os.environ.get("RADFED_RUNTIME_FLOWER", "")


def test_it_learns_from_what_lies_below_the_data_path(bench):
    measured, truth = load_data(bench.workspace.inside)
    before = np.zeros(1), np.zeros(1)

    after = fit(measured, truth, *before, {"steps": 200, "rate": 0.3})

    assert len(truth) > 20
    assert loss(measured, truth, *after) < loss(measured, truth, *before)


def test_every_held_out_case_gets_a_score(bench):
    cohort = bench.cohort("validation")

    scores = job.predict(cohort, bench.weights, bench.config)

    assert scores.keys() | cohort.skipped == {case.name for case in cohort}
    assert all(0.0 <= score <= 1.0 for score in scores.values())


def test_the_app_runs_in_the_sandbox_and_passes_the_gate(bench):
    if shutil.which("bwrap") is None or not RUNTIME:
        pytest.skip("RADFED_RUNTIME_FLOWER names no directory, or bubblewrap is not installed")

    ended = bench.dry_run(Runner.on_this_machine(Limits(), offered={"flower": Path(RUNTIME)}))

    assert (ended.ends, ended.code) == ("released", ""), ended.log
