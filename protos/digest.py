"""Digests both houses compute: content addresses and the link of a hash chain."""

from collections.abc import Iterable
from hashlib import sha256

GENESIS = bytes(32)


def content_address(chunks: Iterable[bytes]) -> bytes:
    """Return the SHA-256 of the chunks' concatenation, 32 bytes."""
    digest = sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.digest()


def chain_link(previous: bytes, body: bytes) -> bytes:
    """Return the hash of a chain's next entry: SHA-256(previous || SHA-256(body)).

    The first entry's predecessor is GENESIS. Hashing the body first keeps entries verifiable
    after a payload has been erased under retention.
    """
    return sha256(previous + sha256(body).digest()).digest()
