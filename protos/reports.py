"""What is signed of a job: a hospital's statistics, the report made of them, a model's card."""

from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from protos.canonical import canonical_bytes


def statistics_statement(task_id: str, statistics: bytes) -> bytes:
    """Return what a hospital signs: its own figures, for one task and no other."""
    fields = {"task": task_id, "sha256": sha256(statistics).hexdigest()}
    return canonical_bytes("evaluation statistics", fields)


def report_statement(report: bytes) -> bytes:
    """Return what the coordinator signs: the report's very bytes."""
    return canonical_bytes("evaluation report", {"sha256": sha256(report).hexdigest()})


def card_statement(card: bytes) -> bytes:
    """Return what the coordinator signs of a trained model: its card's very bytes."""
    return canonical_bytes("model card", {"sha256": sha256(card).hexdigest()})


def is_signed(public_key: bytes, signature: bytes, statement: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, statement)
    except (InvalidSignature, ValueError):
        return False
    return True
