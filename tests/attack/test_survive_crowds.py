"""Hundreds of peers, and conversations nobody would hold, against the real gateway."""

import resource
import subprocess
import sys

import pytest

from tests.chaos.crowds import crowd, mutants

pytestmark = pytest.mark.attack


def test_two_thousand_short_associations_and_two_hundred_tricklers_keep_nobody_out(tmp_path):
    seen = crowd(tmp_path, associations=2000, trickling=200)

    assert seen["seconds"] < 60


def test_mutated_conversations_break_no_receiver(tmp_path):
    mutants(tmp_path, conversations=500, seed=20250305)


LIMITED = """
import resource
from gateway.app.process import harden
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
harden(None)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def test_strangers_cannot_use_up_the_files_of_a_gateway_started_with_few():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < 2048:
        pytest.skip(f"this account may open {hard} files")

    done = subprocess.run(
        [sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True
    )

    assert int(done.stdout) >= 2048
