import shutil

import job
import pytest

from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner


def test_every_case_that_can_be_read_has_its_boxes(bench):
    cohort = bench.cohort("validation")

    found = job.predict(cohort, bench.weights, bench.config)

    assert found.keys() | cohort.skipped == {case.name for case in cohort}
    marks = [box for boxes in found.values() for box in boxes]
    assert all(0.0 <= box.score <= 1.0 for box in marks)
    assert all(low <= high for box in marks for low, high in zip(box.low, box.high, strict=True))


def test_it_finds_findings_in_the_sandbox_and_passes_the_gate(bench):
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")

    ended = bench.dry_run(Runner.on_this_machine(Limits()))

    assert (ended.ends, ended.code) == ("released", ""), ended.log
    assert ended.leaves["sensitivity_on_twin"] > 0.5
