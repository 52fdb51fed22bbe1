import shutil

import job
import pytest

from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner


def test_every_case_that_can_be_read_has_a_mask_of_its_volume(bench):
    cohort = bench.cohort("validation")

    found = job.predict(cohort, bench.weights, bench.config)

    assert found.keys() | cohort.skipped == {case.name for case in cohort}
    shapes = {case.name: case.place()[0] for case in cohort if case.name in found}
    assert all(mask.shape == shapes[name] for name, mask in found.items())


def test_it_draws_findings_in_the_sandbox_and_passes_the_gate(bench):
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")

    ended = bench.dry_run(Runner.on_this_machine(Limits()))

    assert (ended.ends, ended.code) == ("released", ""), ended.log
    assert ended.leaves["dice_on_twin"] > 0.3
