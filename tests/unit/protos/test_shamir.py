from contextlib import suppress
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos import shamir


def counting(start=1):
    """Return draws that anybody can repeat."""
    state = [start]

    def below(bound):
        state[0] = state[0] * 6364136223846793005 + 1442695040888963407
        return state[0] % bound

    return below


def test_the_prime_is_one_and_lies_above_every_secret():
    # Miller and Rabin over the first primes: none is a witness against it.
    odd, twos = shamir.PRIME - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41):
        seen = [pow(base, odd * 2**step, shamir.PRIME) for step in range(twos)]
        assert seen[0] == 1 or shamir.PRIME - 1 in seen
    assert shamir.PRIME > 2 ** (8 * shamir.SECRET_BYTES) - 1


def test_shares_of_the_textbook_are_the_textbooks():
    # Shamir's scheme as it is worked out for 1234 = f(0), f = 1234 + 166 x + 94 x^2 over 1613.
    polynomial = [1234, 166, 94]

    shares = [shamir.value_at(polynomial, place, 1613) for place in range(1, 7)]

    assert shares == [1494, 329, 965, 176, 1188, 775]
    assert shamir.value_at_zero([(2, 329), (4, 176), (5, 1188)], 1613) == 1234


@given(st.binary(min_size=32, max_size=32), st.integers(1, 9), st.integers(0, 3))
def test_enough_shares_are_the_secret(secret, threshold, more):
    shares = shamir.split(secret, range(1, threshold + more + 1), threshold, counting())

    for chosen in list(combinations(shares.items(), threshold))[:5]:
        assert shamir.join(dict(chosen), threshold) == secret


def test_one_share_too_few_fits_every_secret():
    secret = bytes(range(32))
    shares = shamir.split(secret, range(1, 6), 3, counting())
    known = [(place, int.from_bytes(shares[place])) for place in (1, 2)]

    # For any other secret there is a third share with which two true ones give it.
    for other in (0, 1, 2**255):
        line = [(0, other), *known]
        third = lagrange(line, 3)
        assert shamir.value_at_zero([*known, (3, third)], shamir.PRIME) == other

    with pytest.raises(shamir.NotEnoughShares, match="2 of 3"):
        shamir.join({place: shares[place] for place in (1, 2)}, 3)


def test_shares_of_different_secrets_do_not_pass_for_one():
    one = shamir.split(b"\1" * 32, range(1, 4), 2, counting(1))
    other = shamir.split(b"\2" * 32, range(1, 4), 2, counting(2))

    mixed = {1: one[1], 2: other[2]}

    with suppress(shamir.NotEnoughShares):
        assert shamir.join(mixed, 2) not in (b"\1" * 32, b"\2" * 32)


def lagrange(points, at):
    total = 0
    for place, value in points:
        above = below = 1
        for other, _ in points:
            if other != place:
                above = above * (at - other) % shamir.PRIME
                below = below * (place - other) % shamir.PRIME
        total += value * above * pow(below, -1, shamir.PRIME)
    return total % shamir.PRIME
