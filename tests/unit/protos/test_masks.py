import hmac
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos import masks


def test_the_keystream_is_nists():
    # SP 800-38A F.5.5, CTR-AES256: what is encrypted there, taken off again.
    key = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"
    counter = "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
    plain = bytes.fromhex("6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51")
    cipher = bytes.fromhex("601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5")

    drawn = masks.Keystream(bytes.fromhex(key), bytes.fromhex(counter))(4).tobytes()

    assert bytes(a ^ b for a, b in zip(plain, drawn, strict=True)) == cipher


def test_a_keystream_goes_on_where_it_ended():
    whole = masks.Keystream(b"k" * 32)(1000).copy()
    pieces = masks.Keystream(b"k" * 32)

    assert np.array_equal(np.concatenate([pieces(10).copy(), pieces(990).copy()]), whole)


def test_a_pairs_key_is_rfc_7748s_agreement_through_rfc_5869():
    # RFC 7748 6.1: Bob's private key, Alice's public one, and what they agree on.
    bob = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    alice = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    agreed = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
    extracted = hmac.digest(b"context", agreed, sha256)  # RFC 5869 2.2, and 2.3 for one block
    expanded = hmac.digest(extracted, b"radfed sum mask a b v1\1", sha256)

    assert masks.pair_key(bob, alice, b"context", "mask a b") == expanded


def test_two_hospitals_find_the_same_key_and_another_for_each_purpose():
    a, b = bytes(range(32)), bytes(range(32, 64))

    one = masks.pair_key(a, masks.public_of(b), b"context", masks.mask_purpose("a", "b"))

    assert one == masks.pair_key(b, masks.public_of(a), b"context", masks.mask_purpose("b", "a"))
    assert one != masks.pair_key(a, masks.public_of(b), b"context", masks.mask_purpose("a", "c"))
    assert one != masks.pair_key(a, masks.public_of(b), b"another", masks.mask_purpose("a", "b"))


def test_a_key_of_small_order_is_refused():
    with pytest.raises(masks.Unusable):
        masks.pair_key(b"a" * 32, bytes(32), b"context", "mask a b")


@given(st.integers(4, 8), st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1))
def test_what_is_packed_is_unpacked(width, numbers):
    whole = np.array(numbers, np.int64)

    raw = masks.packed(whole.view(np.uint64), width)

    assert len(raw) == width * len(numbers)
    assert np.array_equal(masks.signed(masks.unpacked(raw, width), width), whole)


def test_masks_of_a_pair_cancel_and_alone_look_like_noise():
    values = np.arange(200_000, dtype=np.int64)
    one, other = values.view(np.uint64).copy(), values.view(np.uint64).copy()
    plus, minus = masks.Mask([b"p" * 32], []), masks.Mask([], [b"p" * 32])
    for start in range(0, len(values), masks.PIECE):
        part = slice(start, start + masks.PIECE)
        plus.put_on(one[part])
        minus.put_on(other[part])

    assert np.array_equal((one + other).view(np.int64), 2 * values)
    assert not np.array_equal(one.view(np.int64), values)
