"""What a receiver process weighs before it has received anything."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.flow

START = """
import sys
from gateway.app.lean import DECODERS, decode_nothing
assert not {"pydicom", "structlog"} & sys.modules.keys(), "too late to leave anything out"
decode_nothing()
import gateway.app.intake_worker
assert not [name for name in (*DECODERS, "rich") if sys.modules[name]]
assert not {"typer", "pynetdicom"} & sys.modules.keys(), "a receiver has no use for them"
(line,) = [line for line in open("/proc/self/status") if line.startswith("VmRSS")]
print(line.split()[1])
"""


def test_a_receiver_loads_no_decoder_and_leaves_room_below_80_megabytes():
    done = subprocess.run(
        [sys.executable, "-c", START], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 62_000


UNASKED = """
import sys
from gateway.app.lean import UNASKED, decode_nothing
decode_nothing("numpy", "rich")
import gateway.app.node
import gateway.cli
assert "sqlite_utils" in sys.modules and "pydicom" in sys.modules
assert not [name for name in UNASKED if sys.modules[name]]
"""


def test_the_gateway_loads_nothing_that_its_libraries_only_offer_to_use():
    done = subprocess.run(
        [sys.executable, "-c", UNASKED], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 0, done.stderr
