"""What a vendor's code tries against the hospital, inside the sandbox and without one."""

import contextlib
import os
import shutil
import socket
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.errors import EnvironmentFault
from gateway.model import Isolation
from gateway.sandbox import runner as running
from gateway.sandbox import selftest
from gateway.sandbox.rules import FailureCode, Limits
from gateway.sandbox.runner import Finished, JobFailed, Runner
from tests.fakes import isolating, vendor

pytestmark = pytest.mark.attack

# What any kernel lets an unconfined process do; some build without vsock, bpf or userfaultfd.
MUST_WORK_UNCONFINED = {"tcp", "name_lookup", "unix_socket", "abstract_socket", "netlink",
                        "host_file", "host_home", "environment", "other_processes", "read_kernel",
                        "call_ptrace", "call_mount", "call_unshare", "call_setns",
                        "call_memfd_create"}  # fmt: skip
SEND = """
    import socket

    def predict(cohort, weights, config):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"a patient", ("127.0.0.1", config["port"]))
        return {"sent": 1.0}
"""


@pytest.fixture(scope="module", params=isolating.EITHER)
def runner(request):
    limits = Limits(memory_bytes=1 << 30, processes=64)
    return Runner.on_this_machine(limits, isolation=request.param)


def test_no_attack_of_the_self_test_works_from_inside(runner):
    assert runner.self_test() == []


def test_the_same_attacks_work_without_the_sandbox():
    with tempfile.TemporaryDirectory() as folder, selftest._host(Path(folder)) as config:
        worked = vendor.run_unconfined(selftest.PROBE, config)

    assert {name for name, score in worked.items() if score} >= MUST_WORK_UNCONFINED


def test_a_gateway_of_root_without_cgroups_runs_no_jobs(runner):
    problems = runner.without_cgroups().self_test()

    assert problems or os.geteuid() != 0


def test_a_sandbox_that_cannot_start_is_a_problem_not_a_pass(runner, tmp_path):
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    confinement = replace(runner.confinement, bwrap=broken)

    problems = Runner(runner.limits, runner._runtime, confinement, runner._groups).self_test()

    assert len(problems) == 1
    assert "does not start" in problems[0]


def test_where_gvisor_is_demanded_nothing_less_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "PROGRAMS", str(tmp_path))
    (tmp_path / "bwrap").symlink_to(shutil.which("bwrap"))

    with pytest.raises(EnvironmentFault, match="runsc is missing"):
        Runner.on_this_machine(Limits(), isolation=Isolation.GVISOR)

    (tmp_path / "runsc").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "runsc").chmod(0o755)
    broken = Runner.on_this_machine(Limits(), isolation=Isolation.GVISOR)
    (problem,) = broken.self_test()
    assert "does not start (sandbox_fault)" in problem


def test_a_datagram_to_the_hospital_does_not_arrive(runner, tmp_path):
    with a_udp_listener() as (listener, port):
        outcome = vendor.run(runner, tmp_path, SEND, {"port": port})

        assert isinstance(outcome, Finished | JobFailed)
        with pytest.raises(TimeoutError):
            listener.recv(64)


def test_the_same_datagram_arrives_without_the_sandbox(tmp_path):
    bundle = vendor.a_bundle(tmp_path / "bundle", SEND)
    with a_udp_listener() as (listener, port):
        vendor.run_unconfined(bundle, {"port": port})

        assert listener.recv(64) == b"a patient"


def test_a_job_sees_no_other_job_and_no_store(runner, tmp_path):
    outcome = vendor.run(
        runner,
        tmp_path,
        """
        import os

        def predict(cohort, weights, config):
            inside = set(os.listdir("/job"))
            outside = set(os.listdir("/")) & {"home", "srv", "var", "etc", "work"}
            return {
                "only_its_own": float(inside == {"code", "in", "out", "runtime"}),
                "root": float(bool(outside)),
                "tmp": float(bool(os.listdir("/tmp"))),
            }
        """,
    )

    assert (
        outcome.outputs["predictions.csv"] == b"case,score\nonly_its_own,1.0\nroot,0.0\ntmp,0.0\n"
    )


def test_only_the_promised_packages_can_be_imported(runner, tmp_path):
    outcome = vendor.run(
        runner,
        tmp_path,
        """
        import importlib.util

        def predict(cohort, weights, config):
            names = ("numpy", "scipy", "pydicom", "safetensors",
                     "gateway", "protos", "cryptography", "grpc", "pynetdicom")
            return {name: float(importlib.util.find_spec(name) is not None) for name in names}
        """,
    )

    found = dict(
        line.split(",") for line in outcome.outputs["predictions.csv"].decode().split()[1:]
    )
    assert {name for name, score in found.items() if float(score)} == {
        "numpy", "scipy", "pydicom", "safetensors",
    }  # fmt: skip


def test_a_missing_import_has_a_code_of_its_own(runner, tmp_path):
    outcome = vendor.run(runner, tmp_path, "import torch_that_is_not_there\n")

    assert outcome.code is FailureCode.IMPORT_MISSING


def test_an_exception_text_leaves_only_into_the_hospitals_own_log(runner, tmp_path):
    outcome = vendor.run(
        runner,
        tmp_path,
        """
        def predict(cohort, weights, config):
            print("ZHANG^WEI on stdout", flush=True)
            raise RuntimeError("ZHANG^WEI was here")
        """,
    )

    assert outcome.code is FailureCode.CODE_FAILED
    assert b"ZHANG^WEI on stdout" in outcome.log
    assert "ZHANG" not in repr(outcome)


@contextlib.contextmanager
def a_udp_listener():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(0.3)
        yield listener, listener.getsockname()[1]
