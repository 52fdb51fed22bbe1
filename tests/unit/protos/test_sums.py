import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.job_manifest import ManifestFault, parse_manifest
from protos.sums import (
    NEIGHBOURS,
    SumContext,
    grid_of,
    holders,
    keys_statement,
    roster_digest,
    threshold,
    transcript_statement,
    width_of,
)
from protos.v1.sum_pb2 import SumKeys

CONTEXT = SumContext("job1", 1, b"b" * 32, b"w" * 32)


def test_two_stories_of_a_round_cannot_both_find_enough_unless_a_third_lies():
    for hospitals in range(1, 300):
        enough = threshold(hospitals)
        assert hospitals >= enough
        assert 2 * enough - hospitals > hospitals / 3 - 1


def test_in_a_small_roster_everybody_holds_of_everybody():
    names = [f"h{number}" for number in range(NEIGHBOURS + 1)]

    assert set(holders(names, b"digest").values()) == {tuple(sorted(names))}


def test_in_a_large_roster_neighbours_are_each_others_and_nobody_picks_his():
    names = [f"h{number}" for number in range(200)]

    found, other = holders(names, b"digest"), holders(names, b"another")

    assert all(name in found[beside] for name in names for beside in found[name])
    assert all(40 <= len(beside) <= NEIGHBOURS + 1 for beside in found.values())
    shared = [len(set(found[name]) & set(other[name])) for name in names]
    assert sum(shared) / len(shared) < NEIGHBOURS / 2


def test_a_large_roster_hangs_together_though_a_third_is_away():
    names = [f"h{number:03}" for number in range(200)]
    found = holders(names, b"digest")
    here = set(sorted(names)[67:])

    reached, ahead = set(), [min(here)]
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead += set(found[name]) & here

    assert reached == here


@given(
    st.floats(1e-3, 1e3),
    st.floats(0, 2),
    st.integers(1, 10**8),
    st.lists(st.integers(1, 1 << 20), min_size=1, max_size=256),
)
def test_no_sum_of_what_the_grid_holds_can_wrap(clip, relative_sigma, count, weights):
    sigma = clip * relative_sigma
    grid = grid_of(clip, sigma, count)

    # The longest a value can be: the clipped norm, the end of the noise's tail, two roundings.
    longest = clip * grid.scale + math.sqrt(2 * 54 * math.log(2)) * sigma * grid.scale + 2
    assert longest <= 2 ** (grid.bits - 1)
    width = width_of(grid.bits, weights)
    assert sum(weights) * 2 ** (grid.bits - 1) < 2 ** (8 * width - 1)
    # And rounding takes little of what the clip allows.
    assert math.sqrt(count) + 1 < 0.05 * clip * grid.scale


def test_noise_that_drowns_the_grid_is_refused():
    with pytest.raises(ValueError, match="too large beside clip"):
        grid_of(1.0, 1e9, 100)


def test_every_field_of_what_is_signed_changes_what_is_signed():
    keys = SumKeys(
        site="a", weights_digest=b"w" * 32, weight=3, mask_key=b"m", seal_key=b"s",
        self_mask_digest=b"d",
    )  # fmt: skip
    said = {keys_statement(CONTEXT, keys)}
    for change in ({"site": "b"}, {"weight": 4}, {"mask_key": b"x"}, {"seal_key": b"x"},
                   {"self_mask_digest": b"x"}):  # fmt: skip
        other = SumKeys()
        other.CopyFrom(keys)
        for name, value in change.items():
            setattr(other, name, value)
        said.add(keys_statement(CONTEXT, other))
    for context in (
        SumContext("job2", 1, b"b" * 32, b"w" * 32),
        SumContext("job1", 2, b"b" * 32, b"w" * 32),
        SumContext("job1", 1, b"c" * 32, b"w" * 32),
        SumContext("job1", 1, b"b" * 32, b"x" * 32),
    ):
        said.add(keys_statement(context, keys))
        assert roster_digest(context, [keys]) != roster_digest(CONTEXT, [keys])
    assert len(said) == 10
    assert transcript_statement(CONTEXT, b"r", ["a", "b"]) == transcript_statement(
        CONTEXT, b"r", ["b", "a"]
    )
    assert transcript_statement(CONTEXT, b"r", ["a"]) != transcript_statement(CONTEXT, b"q", ["a"])


TOML = """
name = "summed"
kind = "%s"
purpose = "A test."
label = "nodule"
sum = "secure"
cohort = [{ field = "Modality", values = ["CT"] }]
"""


def test_a_job_says_that_it_is_summed_and_one_that_says_nothing_is_not():
    weights = "weights.w = { shape = [3] }"

    assert parse_manifest(TOML % "training" + weights).is_summed
    assert not parse_manifest(TOML.replace('sum = "secure"', "") % "training" + weights).is_summed


def test_what_no_sum_can_give_is_refused_as_the_manifest_is_read():
    drowned = "clip = 1e-9\nsigma = 1.0\nweights.w = { shape = [3] }"
    with pytest.raises(ManifestFault, match="too large beside clip"):
        parse_manifest(TOML % "training" + drowned)
    protocol = (Path(__file__).parents[3] / "deploy" / "examples" / "test.toml").read_text()
    assert parse_manifest('sum = "secure"\n' + protocol).is_summed
    boxes = protocol.replace("[protocol]", '[protocol]\npredictions = "boxes"\nhit = {}')
    boxes = re.sub("(?m)^(endpoint|compare_with) = .*$", "", boxes) + '\nendpoint = "froc"\n'
    with pytest.raises(ManifestFault, match="statistics of boxes are shown by hospital"):
        parse_manifest('sum = "secure"\n' + boxes)
    with pytest.raises(ManifestFault, match="`sum`"):
        parse_manifest((TOML % "training").replace("secure", "secret") + "weights.w = {shape=[1]}")
