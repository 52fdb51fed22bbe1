"""The name of a frozen cohort: the root of a Merkle tree with a leaf for each case (RFC 6962 2.1).

Whoever holds one case's leaf and its path can show that it was, or was not, what a job ran on,
without showing the others.
"""

import json
from collections.abc import Iterable, Sequence
from hashlib import sha256

LEAF, NODE = b"\0", b"\1"  # so that no node can pass for a leaf


def leaf(case: str, label: int, files: Iterable[str]) -> bytes:
    """Return a case's leaf: its pseudonymous name, its label, its files' SHA-256 in order."""
    told = json.dumps([case, label, list(files)], separators=(",", ":"))
    return sha256(LEAF + told.encode()).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the tree's root; that of no leaf is the digest of nothing."""
    if not leaves:
        return sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1  # the largest power of two below
    return sha256(NODE + root(leaves[:half]) + root(leaves[half:])).digest()
