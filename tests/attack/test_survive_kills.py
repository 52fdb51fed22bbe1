"""SIGKILL of the real gateway: what was acknowledged is there once, and nothing half done is."""

import pytest

from tests.chaos.kills import kills

pytestmark = pytest.mark.attack


def test_the_gateway_is_killed_at_random_moments_and_starts_again_by_itself(tmp_path):
    seen = kills(tmp_path, rounds=8, seed=20250303)

    assert seen["acknowledged"] > 40
