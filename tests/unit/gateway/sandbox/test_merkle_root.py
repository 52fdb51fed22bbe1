from hashlib import sha256

import pytest

from gateway.sandbox.merkle import root

LEAVES = [sha256(bytes([number])).digest() for number in range(7)]


def node(left, right):
    return sha256(b"\1" + left + right).digest()


def test_the_tree_is_that_of_rfc_6962():
    a, b, c, d, e, f, g = LEAVES

    assert root([a]) == a
    assert root([a, b, c]) == node(node(a, b), c)
    assert root(LEAVES) == node(node(node(a, b), node(c, d)), node(node(e, f), g))
    assert root([]) == sha256().digest()


@pytest.mark.parametrize("place", range(7))
def test_every_case_and_its_place_are_in_the_name(place):
    changed = [*LEAVES]
    changed[place] = bytes(32)

    assert root(changed) != root(LEAVES) != root(LEAVES[:place] + LEAVES[place + 1 :])
    assert root(LEAVES) != root(LEAVES[::-1])
