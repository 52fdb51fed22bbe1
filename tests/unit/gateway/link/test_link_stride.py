from itertools import pairwise

import pytest

from coordinator.jobs.transfers import next_chunk as next_from_the_centre
from gateway.link.rules import FIRST_CHUNK, LARGEST_CHUNK, SMALLEST_CHUNK, next_chunk
from gateway.link.stride import Stride


def sizes_at(bytes_per_second, count=30):
    """Return the chunks of a transfer over a link that carries so much."""
    clock = [0.0]
    stride = Stride(lambda: clock[0])
    stride.begin()
    found = []
    for _ in range(count):
        found.append(stride.next())
        clock[0] += found[-1] / bytes_per_second
    return found


def test_a_fast_link_carries_large_chunks_after_a_few():
    assert sizes_at(100e6)[:6] == [64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20, 1 << 20]


@pytest.mark.parametrize("megabits", [0.05, 0.5, 2, 10])
def test_what_is_on_its_way_when_a_link_is_cut_is_a_quarter_second_at_most(megabits):
    per_second = megabits * 1e6 / 8

    settled = sizes_at(per_second)[10:]

    assert all(size <= max(per_second / 4, SMALLEST_CHUNK) for size in settled)
    assert all(before == after for before, after in pairwise(settled))


def test_a_pause_between_two_transfers_says_nothing_of_the_link():
    clock = [0.0]
    stride = Stride(lambda: clock[0])
    stride.begin()
    stride.next()
    clock[0] += 3600

    stride.begin()

    assert stride.next() == FIRST_CHUNK


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.1, 0.3, 100.0])
@pytest.mark.parametrize("size", [SMALLEST_CHUNK, FIRST_CHUNK, LARGEST_CHUNK])
def test_both_houses_stride_alike(size, seconds):
    assert next_chunk(size, seconds) == next_from_the_centre(size, seconds)
