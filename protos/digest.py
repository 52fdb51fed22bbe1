"""The link of a hash chain, which both houses compute."""

from hashlib import sha256

GENESIS = bytes(32)


def chain_link(previous: bytes, body: bytes) -> bytes:
    """Return the hash of a chain's next entry: SHA-256(previous || SHA-256(body)).

    The first entry's predecessor is GENESIS. Hashing the body first keeps entries verifiable
    after a payload has been erased under retention.
    """
    return sha256(previous + sha256(body).digest()).digest()
