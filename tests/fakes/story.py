"""A coordinator's signed story of a job's rounds, honest unless it is changed."""

from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protos.transcripts import link_of, parts_root, transcript_statement
from protos.v1.job_pb2 import RoundTranscript


def weights_of(number: int) -> bytes:
    """Return the digest of the model that a round starts from."""
    return b"w" * 32 if number == 1 else sha256(b"%d" % number).digest()


class Story:
    def __init__(self, bundle_digest: bytes, job_id: str = "job1") -> None:
        self.key = Ed25519PrivateKey.generate()
        self.bundle_digest, self.job_id = bundle_digest, job_id
        self.parts: list[bytes] = [b"p" * 32]

    def told(self, rounds: int, **lies) -> list[RoundTranscript]:
        """Return the story of so many rounds; `lies` are told of the last, and signed."""
        story: list[RoundTranscript] = []
        for number in range(1, rounds + 1):
            self.add(story, number, **(lies if number == rounds else {}))
        return story

    def add(self, story: list[RoundTranscript], number: int, **lies) -> None:
        fields = {
            "job_id": self.job_id,
            "round": number,
            "previous": link_of(story[-1] if story else None),
            "bundle_digest": self.bundle_digest,
            "weights_before": weights_of(number),
            "weights_after": weights_of(number + 1),
            "parts_root": parts_root(self.parts),
            "parts": len(self.parts),
            "public_key": self.key.public_key().public_bytes_raw(),
        }
        made = RoundTranscript(**fields | lies)
        made.signature = self.key.sign(transcript_statement(made))
        story.append(made)
