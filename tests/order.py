"""The files that take longest, which therefore begin first."""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Protocol


class Collected(Protocol):
    """What is asked of a test that pytest found."""

    path: PurePath


# By their measured seconds on two cores. What mostly waits stands between what mostly works,
# so that the first processes do not begin with two whole federations at once.
LONGEST = (
    "flow/test_demo_killed.py",
    "flow/test_link_standby.py",
    "flow/test_deid_try.py",
    "attack/test_survive_kills.py",
    "flow/test_demo_once.py",
    "flow/test_fetch_command.py",
    "flow/test_key_remapping.py",
    "flow/test_deid_rerun.py",
    "attack/test_privacy_attacks.py",
    "attack/test_survive_fleet.py",
    "attack/test_deid_planting.py",
    "flow/test_wheelhouse.py",
    "attack/sandbox/test_vendor_attacks.py",
    "flow/test_custody_power.py",
    "flow/test_coordinator_standby.py",
    "flow/test_gateway_command.py",
    "flow/test_sandbox_training.py",
    "flow/test_commitment_process.py",
    "flow/test_faces_running.py",
    "flow/test_faces_removed.py",
    "flow/test_gateway_backup.py",
    "flow/test_authority_commands.py",
    "flow/test_coordinator_process.py",
    "flow/test_console_browser.py",
    "flow/test_federation_browser.py",
    "flow/test_job_pages_browser.py",
    "attack/test_hostile_sums.py",
    "attack/test_planting_slice.py",
    "attack/test_silent_callers.py",
    "flow/test_key_rotation.py",
    "flow/test_link_renewal.py",
    "flow/test_bytes_on_the_wire.py",
    "flow/test_sandbox_dependencies.py",
)


def longest_first(tests: Sequence[Collected]) -> list[Collected]:
    """Put the tests of the longest files first, and leave the order within a file alone."""
    place = {name: number for number, name in enumerate(LONGEST)}

    def turn(test: Collected) -> int:
        parts = test.path.parts
        names = ("/".join(parts[-length:]) for length in (2, 3))
        return min(place.get(name, len(place)) for name in names)

    return sorted(tests, key=turn)
