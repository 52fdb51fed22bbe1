"""A job with many processes has no more of the processors than its limit says."""

import os
import time

import pytest

from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Finished, Runner
from tests.fakes import vendor

pytestmark = pytest.mark.attack

SPINS = """
    import os, resource, time

    def predict(cohort, weights, config):
        for _ in range(4):
            if os.fork() == 0:
                ends = time.monotonic() + 1.5
                while time.monotonic() < ends:
                    pass
                os._exit(0)
        for _ in range(4):
            os.wait()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {"used": used.ru_utime + used.ru_stime}
"""


def used(outcome):
    assert isinstance(outcome, Finished), outcome.log.decode()
    return float(outcome.outputs["predictions.csv"].decode().split(",")[-1])


def test_processes_together_get_one_processor(tmp_path):
    runner = Runner.on_this_machine(Limits(memory_bytes=1 << 30, threads=1))
    with_quota = runner._groups is not None and has_quota(runner._groups)
    if not with_quota or (os.cpu_count() or 1) < 2:
        pytest.skip("this machine gives us no processor quota, or has one processor alone")

    began = time.monotonic()
    spent = used(vendor.run(runner, tmp_path, SPINS))

    assert spent <= 1.3 * (time.monotonic() - began)


def has_quota(groups):
    with groups.cage(64 << 20, 8, 1) as cage:
        return any(
            (group / name).exists()
            for group in cage.groups
            for name in ("cpu.max", "cpu.cfs_quota_us")
        )
