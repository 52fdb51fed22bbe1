"""A review on its way to its signature: a page writes it, its reviewer signs it, the page takes it.

The key stays where its owner keeps it. The coordinator checks the signature over its own record of
the job: of what comes back, the signature alone counts.
"""

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import DecodeError

from coordinator.errors import IntegrityFault, InvalidRequest
from protos.bundle import ForgedBundle, verify
from protos.signatures import sign_review
from protos.v1.job_pb2 import JobOffer, Review

FORMAT = 1
LENGTH = 60_000  # a form's; more hospitals than it holds: `radfed job review`
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, DecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class ReviewSlip:
    federation: str
    name: str  # of the job, for the eye
    purpose: str
    offer: JobOffer
    review: Review | None = None

    def text(self) -> str:
        """Return it as a file: what a person reads in it is what is signed, and no more."""
        terms = self.offer.terms
        said = {
            "radfed_review": FORMAT,
            "federation": self.federation,
            "job": self.offer.job_id,
            "name": self.name,
            "purpose": self.purpose,
            "project": terms.project,
            "bundle_sha256": self.offer.bundle_digest.hex(),
            "rounds": terms.rounds,
            "hospitals": len(terms.sites),
            "offer": b64encode(self.offer.SerializeToString(deterministic=True)).decode(),
        }
        if self.review is not None:
            said["review"] = {
                "public_key": self.review.public_key.hex(),
                "signature": self.review.signature.hex(),
            }
        return json.dumps(said, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, text: str) -> "ReviewSlip":
        """Read one; InvalidRequest where it is none."""
        if len(text) > LENGTH:
            raise InvalidRequest("this is longer than a review is: use `radfed job review`")
        try:
            said = json.loads(text)
            if said["radfed_review"] != FORMAT:
                raise InvalidRequest("this review is of another version of radfed")
            offer = JobOffer.FromString(b64decode(said["offer"], validate=True))
            given = said.get("review")
            review = None if given is None else _review(given["public_key"], given["signature"])
            federation = str(said["federation"])
            return cls(federation, str(said["name"]), str(said["purpose"]), offer, review)
        except UNREADABLE as fault:
            raise InvalidRequest(
                "this is no review: take the file as the page gave it, or as `radfed job sign` "
                "wrote it"
            ) from fault

    def signed(self, key: Ed25519PrivateKey) -> "ReviewSlip":
        """Return it with a reviewer's signature; IntegrityFault where its vendor did not sign."""
        offer = self.offer
        try:
            verify(offer.bundle_digest, offer.vendor_key, offer.vendor_signature)
        except ForgedBundle as fault:
            raise IntegrityFault(f"{fault}: sign nothing") from fault
        return replace(self, review=sign_review(offer, self.federation, key))


def _review(public_key: str, signature: str) -> Review:
    return Review(public_key=bytes.fromhex(public_key), signature=bytes.fromhex(signature))
