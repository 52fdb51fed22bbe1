import os
import shutil
from pathlib import Path

import pytest

from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner

RUNTIME = os.environ.get("RADFED_RUNTIME_TORCH", "")


def test_it_learns_to_tell_findings_from_none(bench):
    pytest.importorskip("torch")
    import job

    learned = job.train(bench.cohort("training"), bench.weights, bench.config)

    scores = job.predict(bench.cohort("validation"), learned, bench.config)
    with_one = [score for case, score in scores.items() if bench.truth[case]]
    without = [score for case, score in scores.items() if not bench.truth[case]]
    assert sum(with_one) / len(with_one) > sum(without) / len(without) + 0.1


def test_it_runs_in_the_sandbox_and_passes_the_gate(bench):
    if shutil.which("bwrap") is None or not RUNTIME:
        pytest.skip("RADFED_RUNTIME_TORCH names no directory, or bubblewrap is not installed")

    ended = bench.dry_run(Runner.on_this_machine(Limits(), offered={"torch-cpu": Path(RUNTIME)}))

    assert (ended.ends, ended.code) == ("released", ""), ended.log
