"""The plug is pulled at every moment of a recorded run of the real gateway."""

import shutil

import pytest

from tests.chaos.power_cuts import power_cuts

pytestmark = pytest.mark.attack


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_what_was_acknowledged_outlives_a_power_cut_at_every_moment(tmp_path):
    seen = power_cuts(tmp_path, per_lane=10, cuts=15, seed=20250304)

    assert seen["moments"] > 300
    assert seen["acknowledged"] >= 15
