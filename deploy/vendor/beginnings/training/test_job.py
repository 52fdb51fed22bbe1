import shutil

import job
import numpy as np
import pytest

from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner


def test_every_held_out_case_gets_a_score(bench):
    cohort = bench.cohort("validation")

    scores = job.predict(cohort, bench.weights, bench.config)

    assert scores.keys() | cohort.skipped == {case.name for case in cohort}
    assert all(0.0 <= score <= 1.0 for score in scores.values())


def test_it_learns_to_tell_findings_from_none(bench):
    learned = job.train(bench.cohort("training"), bench.weights, bench.config)

    scores = job.predict(bench.cohort("validation"), learned, bench.config)

    with_one = np.mean([score for case, score in scores.items() if bench.truth[case]])
    without = np.mean([score for case, score in scores.items() if not bench.truth[case]])
    assert with_one > without + 0.2


def test_it_runs_in_the_sandbox_and_passes_the_gate(bench):
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")

    ended = bench.dry_run(Runner.on_this_machine(Limits()))

    assert (ended.ends, ended.code) == ("released", ""), ended.log
