"""What is signed of a round: each hospital's update, and the coordinator's word on their sum."""

from collections.abc import Iterable
from hashlib import sha256

from protos.canonical import canonical_bytes
from protos.digest import GENESIS
from protos.reports import is_signed
from protos.v1.job_pb2 import RoundTranscript, TaskOutcome

DIGEST_BYTES = 32
TRANSCRIPT_BYTES = 384  # of one at the most, in a message of 64 KiB
AT_MOST = 100  # in one task: a hospital away for longer has lost the thread


def update_statement(task_id: str, update_digest: bytes, weight: float) -> bytes:
    """Return what a hospital signs of its update; its weight as the bits of a float."""
    fields = {"task": task_id, "update": update_digest.hex(), "weight": weight.hex()}
    return canonical_bytes("update", fields)


def part_of(task_id: str, update_digest: bytes, weight: float) -> bytes:
    """Return the mark that an update leaves in a transcript.

    An update's digest is known to its hospital and the coordinator alone: to others the mark says
    neither whose it is nor what it weighs.
    """
    return sha256(update_statement(task_id, update_digest, weight)).digest()


def parts_root(parts: Iterable[bytes]) -> bytes:
    return sha256(b"".join(sorted(parts))).digest()


def transcript_statement(transcript: RoundTranscript) -> bytes:
    """Return what the coordinator signs of a round."""
    return canonical_bytes(
        "round",
        {
            "job": transcript.job_id,
            "round": transcript.round,
            "previous": transcript.previous.hex(),
            "bundle": transcript.bundle_digest.hex(),
            "before": transcript.weights_before.hex(),
            "after": transcript.weights_after.hex(),
            "root": transcript.parts_root.hex(),
            "parts": transcript.parts,
            "key": transcript.public_key.hex(),
        },
    )


def link_of(transcript: RoundTranscript | None) -> bytes:
    """Return what the next round's transcript names as its predecessor."""
    return GENESIS if transcript is None else sha256(transcript_statement(transcript)).digest()


def is_sealed(transcript: RoundTranscript) -> bool:
    """Say whether the key that a transcript names signed it."""
    statement = transcript_statement(transcript)
    return is_signed(transcript.public_key, transcript.signature, statement)


def follows(transcript: RoundTranscript, former: RoundTranscript) -> bool:
    """Say whether a round begins where the one before it ended, under the same key."""
    return (
        transcript.round == former.round + 1
        and transcript.previous == link_of(former)
        and transcript.weights_before == former.weights_after
        and transcript.public_key == former.public_key
    )


def bears_its_signature(outcome: TaskOutcome) -> bool:
    """Say whether an outcome's update is signed as it should be; no signature is none, too."""
    if not outcome.update_signature:
        return not outcome.update_key
    statement = update_statement(outcome.task_id, outcome.update_digest, outcome.weight)
    return bool(outcome.update_digest) and is_signed(
        outcome.update_key, outcome.update_signature, statement
    )
