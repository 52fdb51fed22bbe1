"""Checkpoints: what each house signs about its chain, so that neither rewrites it alone."""

from enum import StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protos.canonical import canonical_bytes
from protos.v1.link_pb2 import Checkpoint, CheckpointExchange

LINK_BYTES = 32


class Finding(StrEnum):
    """What one house makes of the other's checkpoint: a closed set."""

    FIRST = "first"  # nothing is kept yet: this one is
    CONSISTENT = "consistent"  # the former one is in the chain, or it is the same
    UNPROVEN = "unproven"  # the sender does not know yet which one is kept: tell it
    REWOUND = "rewound"  # older than what is kept: a backup was put in place
    REWRITTEN = "rewritten"  # the one that is kept is not in the chain
    REKEYED = "rekeyed"  # signed, but by another key than before
    FORGED = "forged"  # not signed by whom it names


FAULTS = frozenset({Finding.REWOUND, Finding.REWRITTEN, Finding.REKEYED, Finding.FORGED})
# What is kept from then on; a fault is on the chain first, with both links.
TAKEN = frozenset({Finding.FIRST, Finding.CONSISTENT, Finding.REWRITTEN, Finding.REKEYED})


def checkpoint_statement(checkpoint: Checkpoint) -> bytes:
    """Return what a house signs about its chains."""
    return canonical_bytes(
        "checkpoint",
        {
            "house": checkpoint.house,
            "number": checkpoint.number,
            "link": checkpoint.link.hex(),
            "at": checkpoint.at.ToSeconds(),
            "ledger_link": checkpoint.ledger_link.hex(),
            "year": checkpoint.year,
            "spent_nano_rho": checkpoint.spent_nano_rho,
        },
    )


def sign_checkpoint(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> Checkpoint:
    """Put the house's signature on its checkpoint; return it."""
    checkpoint.public_key = key.public_key().public_bytes_raw()
    checkpoint.signature = key.sign(checkpoint_statement(checkpoint))
    return checkpoint


def spending_statement(checkpoint: Checkpoint) -> bytes:
    """Return what a hospital signs about bits and looks, beside its chains."""
    return canonical_bytes(
        "checkpoint spending",
        {
            "house": checkpoint.house,
            "number": checkpoint.number,
            "at": checkpoint.at.ToSeconds(),
            "milli_bits": checkpoint.milli_bits,
            "looks": checkpoint.looks,
            "trained": checkpoint.trained,
        },
    )


def sign_spending(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> Checkpoint:
    """Put the second signature on a checkpoint; return it."""
    checkpoint.spending_signature = key.sign(spending_statement(checkpoint))
    return checkpoint


def tells_spending(checkpoint: Checkpoint, public_key: bytes) -> bool:
    """Say whether a checkpoint tells bits and looks, and the house's key signed them."""
    try:
        signer = Ed25519PublicKey.from_public_bytes(public_key)
        signer.verify(checkpoint.spending_signature, spending_statement(checkpoint))
    except (InvalidSignature, ValueError):
        return False
    return True


def is_signed(checkpoint: Checkpoint, house: str, public_key: bytes | None = None) -> bool:
    """Say whether a house's key signed it; `public_key` is the one that is known already."""
    if checkpoint.house != house or len(checkpoint.link) != LINK_BYTES:
        return False
    if len(checkpoint.ledger_link) not in {0, LINK_BYTES}:  # what is kept is sent back: no texts
        return False
    if public_key is not None and checkpoint.public_key != public_key:
        return False
    try:
        signer = Ed25519PublicKey.from_public_bytes(checkpoint.public_key)
        signer.verify(checkpoint.signature, checkpoint_statement(checkpoint))
    except (InvalidSignature, ValueError):
        return False
    return True


def judge(kept: Checkpoint | None, said: CheckpointExchange, house: str) -> Finding:
    """Compare what the other house says now with what is kept of it."""
    own = said.own
    if not is_signed(own, house):
        return Finding.FORGED
    if kept is None:
        return Finding.FIRST
    if own.public_key != kept.public_key:
        return Finding.REKEYED
    if own.number <= kept.number:
        # A number is given once: another statement under it is a backup's, whatever its link.
        return Finding.CONSISTENT if own == kept else Finding.REWOUND
    if said.former_number != kept.number:
        return Finding.UNPROVEN
    return Finding.CONSISTENT if said.former_link == kept.link else Finding.REWRITTEN
