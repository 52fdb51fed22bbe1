"""The masks of a secure sum: of pairs of hospitals, by X25519, HKDF-SHA-256 and AES-256-CTR."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES, BLOCK_BYTES = 32, 16
WORD_BYTES = 8  # masks are drawn modulo 2^64; what is sent of them is their low bytes
PIECE = 1 << 16  # values worked on at a time: they stay in the processor's cache
_ZEROS = bytes(PIECE * WORD_BYTES)

Words = npt.NDArray[np.uint64]


class Unusable(ValueError):
    """A key that no honest hospital has."""


class Keystream:
    """AES-256 in counter mode, as words modulo 2^64; each key is for one stream, read once."""

    def __init__(
        self, key: bytes, counter: bytes = bytes(BLOCK_BYTES), place: bytearray | None = None
    ) -> None:
        self._cipher = Cipher(AES(key), CTR(counter)).encryptor()
        self._drawn = a_place() if place is None else place

    def __call__(self, count: int) -> Words:
        """Return the next words, at most PIECE; the next call at the same place overwrites them."""
        self._cipher.update_into(memoryview(_ZEROS)[: count * WORD_BYTES], self._drawn)
        return np.frombuffer(self._drawn, "<u8", count)


def a_place() -> bytearray:
    """Return room for what a keystream draws at a time."""
    return bytearray(len(_ZEROS) + BLOCK_BYTES)


class Mask:
    """A hospital's mask, or what is left of others' in a sum: keystreams added and taken off."""

    def __init__(self, plus: Sequence[bytes], minus: Sequence[bytes]) -> None:
        place = a_place()  # one for all: of thousands of masks each would take half a MiB
        self._plus = [Keystream(key, place=place) for key in plus]
        self._minus = [Keystream(key, place=place) for key in minus]

    def put_on(self, values: npt.NDArray[Any]) -> None:
        """Mask the next values in place; pieces come in their order."""
        for stream in self._plus:
            values += stream(len(values))
        for stream in self._minus:
            values -= stream(len(values))


def public_of(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def pair_key(private: bytes, public: bytes, context: bytes, purpose: str) -> bytes:
    """Return the key that two hospitals share for one round and purpose; Unusable without one."""
    try:
        peer = X25519PublicKey.from_public_bytes(public)
        agreed = X25519PrivateKey.from_private_bytes(private).exchange(peer)
    except ValueError as fault:  # of small order, or not 32 bytes
        raise Unusable("this is no key to agree on anything with") from fault
    return HKDF(SHA256(), KEY_BYTES, context, f"radfed sum {purpose} v1".encode()).derive(agreed)


def mask_purpose(one: str, other: str) -> str:
    return "mask " + " ".join(sorted((one, other)))


def packed(values: Words, width: int) -> bytes:
    """Return the low bytes of each word: the sum is then one modulo 2^(8 width)."""
    as_bytes = np.ascontiguousarray(values, "<u8").view(np.uint8).reshape(-1, WORD_BYTES)
    return as_bytes[:, :width].tobytes()


def unpacked(raw: bytes | memoryview, width: int) -> Words:
    words = np.zeros((len(raw) // width, WORD_BYTES), np.uint8)
    words[:, :width] = np.frombuffer(raw, np.uint8).reshape(-1, width)
    return words.reshape(-1).view("<u8")


def signed(values: Words, width: int) -> npt.NDArray[np.int64]:
    """Read words modulo 2^(8 width) as the numbers nearest to zero."""
    shift = np.uint64(64 - 8 * width)
    found: npt.NDArray[np.int64] = (values << shift).view(np.int64) >> np.int64(64 - 8 * width)
    return found
