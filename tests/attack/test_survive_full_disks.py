"""Disks that fill under the running gateway: refused in words, and all well once there is room."""

import pytest

from tests.chaos.full_disks import can_mount, full_disk, full_index, full_of_names

pytestmark = [
    pytest.mark.attack,
    pytest.mark.skipif(not can_mount(), reason="only root can mount a small disk"),
]


@pytest.mark.parametrize(
    ("place", "leave"),
    [("store", 500_000), ("vault", 30_000), ("", 500_000)],
    ids=["the store", "the vault", "everything"],
)
def test_a_full_disk_is_refused_and_recovers_without_a_restart(tmp_path, place, leave):
    seen = full_disk(tmp_path, place, leave)

    # By a status, or at the reserve by a rejected association.
    assert seen["rejected"] or seen["answers"], seen
    assert all("OutOfResources" in answer for answer in seen["answers"]), seen


def test_an_index_without_room_holds_up_the_line_and_not_the_receivers(tmp_path):
    seen = full_index(tmp_path)

    assert "Success" in seen["answers"]


def test_a_disk_without_room_for_one_more_file_is_refused_and_recovers(tmp_path):
    seen = full_of_names(tmp_path, "")

    assert "Refused: OutOfResources" in seen["answers"]
