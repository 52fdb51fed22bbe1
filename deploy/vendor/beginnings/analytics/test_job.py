import shutil

import job
import numpy as np
import pytest

from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner


def test_the_shares_of_all_cases_come_to_one(bench):
    found = job.analyse(bench.cohort("training"), bench.config)

    assert found["shares"].shape == bench.manifest.weights["shares"].shape
    assert np.isclose(found["shares"].sum(), 1.0)


def test_it_runs_in_the_sandbox_and_passes_the_gate(bench):
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")

    ended = bench.dry_run(Runner.on_this_machine(Limits()))

    assert (ended.ends, ended.code) == ("released", ""), ended.log
