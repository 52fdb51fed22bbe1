"""What a receiver process weighs before it has received anything."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.flow

START = """
import sys
import gateway.cli
from gateway.app.lean import DECODERS, decode_nothing
assert "pydicom" not in sys.modules, "the commands import pydicom: too late to leave anything out"
decode_nothing()
import gateway.app.intake_worker
assert not [name for name in DECODERS if sys.modules[name]]
(line,) = [line for line in open("/proc/self/status") if line.startswith("VmRSS")]
print(line.split()[1])
"""


def test_a_receiver_loads_no_decoder_and_stays_below_80_megabytes():
    done = subprocess.run(
        [sys.executable, "-c", START], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 80_000
