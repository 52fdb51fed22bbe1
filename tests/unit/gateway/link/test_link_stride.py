import pytest

from gateway.link.rules import (
    FIRST_CHUNK,
    FIRST_STRETCH,
    LARGEST_CHUNK,
    LARGEST_STRETCH,
    SMALLEST_CHUNK,
)
from gateway.link.stride import Stretch, Stride
from gateway.release.gate import CHUNK_BYTES


def after(bytes_per_second, stretches=12, round_trip=0.0):
    """Return how a link that carries so much is used after some stretches, and the bytes sent."""
    stride, sent = Stride(), 0
    for _ in range(stretches):
        sent += stride.stretch
        stride.carried(stride.stretch, stride.stretch / bytes_per_second + round_trip)
    return stride, sent


def test_a_fast_link_carries_large_chunks_after_one_small_stretch():
    stride, _ = after(200e6, stretches=1)

    assert stride.chunk() == LARGEST_CHUNK == CHUNK_BYTES
    assert after(200e6)[0].stretch == LARGEST_STRETCH


@pytest.mark.parametrize("megabits", [0.05, 0.5, 2, 10])
def test_what_is_cut_on_its_way_is_a_twentieth_of_a_second_at_most(megabits):
    per_second = megabits * 1e6 / 8

    stride, _ = after(per_second, round_trip=0.3)

    assert stride.chunk() <= max(per_second / 20, SMALLEST_CHUNK)
    assert stride.stretch <= max(2 * per_second, FIRST_STRETCH)


def test_a_link_that_was_slow_is_believed_again_slowly():
    stride, _ = after(1e4)

    stride.carried(stride.stretch, 1e-9)

    assert stride.stretch == 4 * FIRST_STRETCH


def test_it_begins_small():
    assert (Stride().chunk(), Stride().stretch) == (FIRST_CHUNK, FIRST_STRETCH)


def test_what_a_stretch_leaves_is_for_the_next():
    class Chunk:
        payload = bytes(100)

    chunks = iter([Chunk()] * 5)

    first, second = Stretch(chunks, 250), Stretch(chunks, 1000)

    assert (len(list(first)), first.bytes) == (3, 300)
    assert (len(list(second)), second.bytes) == (2, 200)
    assert list(Stretch(chunks, 100)) == []
