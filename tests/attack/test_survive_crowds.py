"""Hundreds of peers, and conversations nobody would hold, against the real gateway."""

import pytest

from tests.chaos.crowds import crowd, mutants

pytestmark = pytest.mark.attack


def test_two_thousand_short_associations_and_two_hundred_tricklers_keep_nobody_out(tmp_path):
    seen = crowd(tmp_path, associations=2000, trickling=200)

    assert seen["seconds"] < 60


def test_mutated_conversations_break_no_receiver(tmp_path):
    mutants(tmp_path, conversations=500, seed=20250305)
