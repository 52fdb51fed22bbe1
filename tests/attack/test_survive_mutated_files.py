"""Damaged datasets, and what is fuzzed for longer elsewhere: seeded, and short."""

import random

import pytest

from tests.chaos import fuzz_datasets, fuzz_upper_layer
from tests.chaos.mutated_files import mutated_files

pytestmark = pytest.mark.attack


def test_a_damaged_dataset_is_stored_or_quarantined_with_a_reason_and_nothing_breaks(tmp_path):
    seen = mutated_files(tmp_path, 400, seed=20250306)

    assert seen["reasons"] == [], "an engine failed in a way nobody foresaw"
    assert seen["stored"] > 50


@pytest.mark.parametrize(("target", "times"), [(fuzz_upper_layer, 10_000), (fuzz_datasets, 1500)])
def test_what_atheris_tries_holds_for_seeded_changes_too(target, times):
    dice = random.Random(20250307)
    seeds = target.seeds()
    for seed in seeds:
        target.try_one(seed)

    for _ in range(times):
        changed = bytearray(dice.choice(seeds))
        for _ in range(dice.randint(1, 5)):
            at = dice.randrange(min(len(changed), 2000))
            if dice.random() < 0.7:
                changed[at] = dice.randrange(256)
            else:
                changed[at : at + dice.randint(0, 9)] = dice.choice((b"", *target.WORDS))
        target.try_one(bytes(changed))
