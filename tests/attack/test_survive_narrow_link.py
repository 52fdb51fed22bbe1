"""A model and an update over a cut road; `python -m tests.chaos link-100` is the long form."""

import shutil

import pytest

from tests.chaos.narrow import Narrow
from tests.chaos.narrow_link import narrow_link

pytestmark = [pytest.mark.attack, pytest.mark.flow]


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_a_link_that_is_cut_again_and_again_loses_no_round_and_repeats_nothing(tmp_path):
    seen = narrow_link(tmp_path, 1, Narrow(8e6, 0.04, loss=0.01), cuts=6, seed=3)

    assert seen["received twice"] == 0
    assert seen["rounds lost"] == 0
