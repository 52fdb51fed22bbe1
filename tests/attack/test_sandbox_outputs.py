"""What a vendor's code tries with its outputs: other people's files, odd files, other names."""

import pytest

from gateway.model import Isolation
from gateway.sandbox.rules import FailureCode, Limits
from gateway.sandbox.runner import Finished, JobFailed, Runner
from tests.fakes import isolating, vendor

pytestmark = pytest.mark.attack


@pytest.fixture(scope="module", params=isolating.EITHER)
def runner(request):
    limits = Limits(memory_bytes=512 << 20, output_bytes=4 << 20)
    return Runner.on_this_machine(limits, isolation=request.param)


@pytest.mark.parametrize(
    "trick",
    [
        'os.symlink("/job/in/config.json", "/job/out/weights.safetensors")',
        'os.symlink("/proc/1/environ", "/job/out/weights.safetensors")',
        'os.mkdir("/job/out/weights.safetensors")',
        'socket.socket(socket.AF_UNIX).bind("/job/out/weights.safetensors")',
        'open("/job/out/x", "w"); os.link("/job/out/x", "/job/out/weights.safetensors")',
        'open("/job/out/weights.safetensors", "w"); os.chmod("/job/out/weights.safetensors", 0)',
    ],
    ids=["symlink", "symlink-to-init", "folder", "socket", "hardlink", "unreadable"],
)
def test_only_plain_files_come_out(runner, tmp_path, trick):
    outcome = vendor.run(
        runner,
        tmp_path,
        f"""
        import os, socket

        def predict(cohort, weights, config):
            {trick}
            return {{}}
        """,
    )

    if "socket.socket" in trick and runner.isolation is Isolation.GVISOR:
        assert "weights.safetensors" not in outcome.outputs  # one of its own kernel: no file at all
        return
    assert isinstance(outcome, JobFailed)
    assert outcome.code is FailureCode.OUTPUT_MALFORMED


def test_a_fifo_cannot_even_be_made(runner, tmp_path):
    outcome = vendor.run(
        runner,
        tmp_path,
        """
        import os

        def predict(cohort, weights, config):
            try:
                os.mkfifo("/job/out/weights.safetensors")
            except OSError:
                return {"refused": 1.0}
        """,
    )

    assert outcome.outputs["predictions.csv"] == b"case,score\nrefused,1.0\n"


def test_undeclared_names_stay_inside(runner, tmp_path):
    outcome = vendor.run(
        runner,
        tmp_path,
        """
        def predict(cohort, weights, config):
            for name in ("pixels.bin", "weights.pickle", ".hidden", "predictions.csv.bak"):
                with open(f"/job/out/{name}", "w") as file:
                    file.write("a patient")
            return {"a": 0.5}
        """,
    )

    assert isinstance(outcome, Finished)
    assert set(outcome.outputs) == {"predictions.csv"}


def test_a_child_cannot_speak_through_its_inits_pipe(runner, tmp_path):
    outcome = vendor.run(
        runner,
        tmp_path,
        """
        import os

        def predict(cohort, weights, config):
            reached = 0
            for number in range(3, 64):
                for process in ("1", "self"):
                    try:
                        with open(f"/proc/{process}/fd/{number}", "wb", buffering=0) as pipe:
                            pipe.write(b"forged")
                            reached += 1
                    except OSError:
                        pass
            return {"reached": float(reached)}
        """,
    )

    assert outcome.outputs["predictions.csv"] == b"case,score\nreached,0.0\n"


def test_what_is_not_a_dictionary_of_numbers_has_a_code(runner, tmp_path):
    outcome = vendor.run(runner, tmp_path, "def predict(*_): return b'pixels'\n")

    assert outcome.code is FailureCode.OUTPUT_MALFORMED


def test_training_returns_declared_files_only(runner, tmp_path):
    outcome = vendor.run(
        runner,
        tmp_path,
        """
        import numpy, radfed_job

        def train(cohort, weights, config):
            radfed_job.report("loss", 0.5)
            return {"w": numpy.ones(2, "float32")}
        """,
        manifest=vendor.TRAINING,
    )

    assert set(outcome.outputs) == {"weights.safetensors", "metrics.json"}
