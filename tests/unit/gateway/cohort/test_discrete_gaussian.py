from collections import Counter
from fractions import Fraction
from math import exp

import pytest

from gateway.cohort.noise import Bits, discrete_gaussian, seed


def test_noise_is_a_function_of_its_seed():
    first = [discrete_gaussian(Fraction(10), Bits(b"seed")) for _ in range(3)]

    assert len(set(first)) == 1


def test_the_seed_separates_question_epoch_and_cell_and_knows_no_asker():
    seeds = {
        seed(b"k", b"q", "2026Q4", ("F",)),
        seed(b"k", b"r", "2026Q4", ("F",)),
        seed(b"k", b"q", "2027Q1", ("F",)),
        seed(b"k", b"q", "2026Q4", ("M",)),
        seed(b"k", b"q", "2026Q4", ("F", "")),
        seed(b"x", b"q", "2026Q4", ("F",)),
    }

    assert len(seeds) == 6


@pytest.mark.parametrize("sigma", [Fraction(1), Fraction(3, 2), Fraction(10)])
def test_draws_follow_the_discrete_gaussian(sigma):
    bits, draws = Bits(b"fixed"), 4000

    counts = Counter(discrete_gaussian(sigma, bits) for _ in range(draws))

    support = range(-int(4 * sigma), int(4 * sigma) + 1)
    weight = {x: exp(-(x**2) / float(2 * sigma**2)) for x in support}
    total = sum(weight.values())
    chi = sum(
        (counts[x] - draws * w / total) ** 2 / (draws * w / total)
        for x, w in weight.items()
        if draws * w / total >= 5
    )
    cells = sum(draws * w / total >= 5 for w in weight.values())
    assert chi < cells + 4 * (2 * cells) ** 0.5  # mean k, standard deviation sqrt(2 k)


def test_bits_below_a_bound_are_uniform():
    bits = Bits(b"fixed")

    counts = Counter(bits.below(3) for _ in range(3000))

    assert set(counts) == {0, 1, 2}
    assert all(abs(count - 1000) < 120 for count in counts.values())
