"""Readers' masks of one case: voted, counted by pattern, and STAPLE on them, in bounded memory."""

import tracemalloc
from itertools import combinations

import numpy as np
import pytest

from coordinator.evaluation.reading import of_voxels
from gateway.errors import IntegrityFault
from gateway.evaluate.overlap import dice
from gateway.evaluate.readers import voxel_readings
from gateway.evaluate.votes import CaseVotes, Votes
from protos.v1.job_pb2 import VoxelReaders

WORTH = ((0.95, 0.98), (0.8, 0.95), (0.7, 0.9))  # of three readers


def votes_of(masks):
    votes = Votes(masks[0].shape)
    for number, mask in enumerate(masks):
        votes.add(f"reader {number}", mask)
    return votes


def draw(rng, shape=(12, 20, 24), worth=WORTH):
    """Return a truth and what readers of known worth drew of it."""
    truth = np.zeros(shape, bool)
    truth[3:9, 4:15, 5:18] = True
    return truth, [np.where(truth, rng.random(shape) < s, rng.random(shape) > c) for s, c in worth]


def staple_by_voxel(calls, steps=2000):
    """Warfield's EM (2004, eqs 14 to 19) on every voxel by itself."""
    p, q = (np.full(len(calls), 0.9) for _ in range(2))
    prior = calls.mean()
    for _ in range(steps):
        a = prior * np.prod(np.where(calls, p[:, None], 1 - p[:, None]), axis=0)
        b = (1 - prior) * np.prod(np.where(calls, 1 - q[:, None], q[:, None]), axis=0)
        weight = a / (a + b)
        p = (calls * weight).sum(1) / weight.sum()
        q = (~calls * (1 - weight)).sum(1) / (1 - weight).sum()
        prior = weight.mean()
    return prior, p, q, weight


def told(found):
    return VoxelReaders(readers=found.readers, cases=found.cases, voxels=found.patterns)


def test_readers_vote_on_voxels():
    one, other, third = (
        np.array([[[a, b, c]]], bool) for a, b, c in [(1, 1, 0), (1, 0, 0), (0, 0, 1)]
    )

    assert votes_of([one, other, third]).voted().tolist() == [[[True, False, False]]]
    assert votes_of([one, other]).voted().tolist() == [[[True, True, False]]]
    twice = votes_of([one])
    twice.add("reader 0", third)
    assert twice.mask("reader 0").tolist() == [[[True, True, True]]]
    assert twice.case() == CaseVotes(("reader 0",), {1: 3})
    assert votes_of([np.zeros((2, 2, 2), bool)]).case().patterns == {}


def test_pairs_of_readers_have_their_dice():
    _, masks = draw(np.random.default_rng(1))

    found = votes_of(masks).case().pairs_dice()

    assert found == pytest.approx(np.mean([dice(a, b) for a, b in combinations(masks, 2)]))
    assert votes_of(masks[:1]).case().pairs_dice() is None


def test_patterns_of_votes_are_all_that_staple_asks():
    rng = np.random.default_rng(2)
    drawn = [draw(rng) for _ in range(20)]
    found = voxel_readings([votes_of(masks).case() for _, masks in drawn])
    # These readers drew something at every side, so the box around it is the whole.
    calls = np.concatenate([np.array(masks).reshape(3, -1) for _, masks in drawn], axis=1)
    prior, p, q, weight = staple_by_voxel(calls, 300)

    said = of_voxels("ankang", told(found))

    assert (said.cases, said.voxels) == (20, calls.shape[1])
    assert said.prevalence == pytest.approx(prior, abs=1e-9)
    assert said.sensitivity == pytest.approx(p, abs=1e-9)
    assert said.specificity == pytest.approx(q, abs=1e-9)
    assert said.consensus_voxels == (weight > 0.5).sum()
    assert said.voted_voxels == (calls.sum(0) >= 1.5).sum()
    for number, (sensitivity, specificity) in enumerate(WORTH):
        assert said.sensitivity[number] == pytest.approx(sensitivity, abs=0.01)
        assert said.specificity[number] == pytest.approx(specificity, abs=0.01)
    truth = np.concatenate([truth.ravel() for truth, _ in drawn])
    assert dice(weight > 0.5, truth) > max(dice(each, truth) for each in calls)


def test_only_cases_that_all_counted_readers_drew_are_counted():
    every = CaseVotes(("anna", "bo", "chen"), {0b001: 1, 0b110: 2, 0b111: 4})
    pair = CaseVotes(("bo", "anna"), {0b01: 8, 0b11: 16})

    assert voxel_readings([every] * 10 + [pair] * 9) is None
    found = voxel_readings([every] * 10 + [pair] * 10)
    assert (found.readers, found.cases) == (2, 20)  # anna and bo: chen drew too few
    assert found.patterns == (0, 10, 20 + 80, 40 + 160)
    assert voxel_readings([CaseVotes(("anna",), {1: 9})] * 30) is None


def test_more_readers_than_a_byte_has_bits():
    masks = [np.zeros((2, 3, 3), bool) for _ in range(16)]
    for number, mask in enumerate(masks):
        mask[0, 0, 0] = True
        mask[1, 2, 2] = number == 12
    votes = votes_of(masks)

    assert votes.mask("reader 12")[1, 2, 2]
    assert votes.voted().sum() == 1
    assert votes.case().patterns == {0xFFFF: 1, 1 << 12: 1, 0: 16}
    with pytest.raises(IntegrityFault, match="more readers"):
        votes.add("one more", masks[0])


def test_memory_is_that_of_one_volume_however_many_readers():
    shape = (60, 128, 128)
    mask = np.zeros(shape, bool)
    mask[10:50, 20:100, 30:110] = True

    def peak(readers):
        tracemalloc.start()
        votes = Votes(shape)
        for number in range(readers):
            votes.add(str(number), mask)
        votes.case()
        votes.voted()
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(5) < 2.5 * mask.nbytes
    assert peak(5) < peak(2) + 0.1 * mask.nbytes
