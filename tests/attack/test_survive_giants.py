"""What a receiver weighs while large instances pass: a bound, whatever their size."""

import pytest

from tests.chaos.giants import functional_groups, multi_frame

pytestmark = pytest.mark.attack
MOST_KILOBYTES = 80_000_000 // 1024  # whatever comes


def test_a_receiver_stays_small_while_a_large_multi_frame_passes(tmp_path):
    assert multi_frame(tmp_path, 600)["peak_kilobytes"] < MOST_KILOBYTES


def test_long_headers_on_eight_associations_at_once_stay_within_their_bound(tmp_path):
    seen = functional_groups(tmp_path, megabytes=60, associations=8)

    assert seen["peak_kilobytes"] < MOST_KILOBYTES
