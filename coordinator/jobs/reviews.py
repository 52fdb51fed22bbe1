"""How far a job's review is: who signed, whether it counts, and whose word is still missing."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from protos.manifest import Manifest, Signer
from protos.signatures import Distrusted, counted, verify_review, verify_vendor
from protos.v1.job_pb2 import JobOffer


@dataclass(frozen=True, slots=True)
class Signature:
    """Somebody's signature; `fault` is the treaty's word where it does not count."""

    role: str
    name: str
    organisation: str
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Reviews:
    signatures: tuple[Signature, ...]
    counted: int
    needed: int
    may_come_from: tuple[str, ...]  # organisations of whom one more review would count

    @property
    def missing(self) -> int:
        return max(0, self.needed - self.counted)


def read_reviews(offer: JobOffer, manifest: Manifest | None, needed: int, now: datetime) -> Reviews:
    """Read every signature as a hospital would, by the manifest in force."""
    try:
        vendor = verify_vendor(offer, manifest, now)
    except Distrusted as fault:
        signed = _signature("vendor", offer.vendor_key, manifest, str(fault.why))
        unread = (_signature("reviewer", r.public_key, manifest, "") for r in offer.reviews)
        return Reviews((signed, *unread), 0, needed, ())
    assert manifest is not None
    found = [_signature("vendor", offer.vendor_key, manifest, "")]
    people: list[Signer] = []
    for review in offer.reviews:
        why = ""
        try:
            people.append(verify_review(offer, review, manifest, vendor, now))
        except Distrusted as fault:
            why = str(fault.why)
        found.append(_signature("reviewer", review.public_key, manifest, why))
    here = counted(people)
    more = tuple(sorted(_more(manifest, vendor, people, now))) if here < needed else ()
    return Reviews(tuple(found), here, needed, more)


def _more(manifest: Manifest, vendor: Signer, people: list[Signer], now: datetime) -> Iterator[str]:
    """Yield the organisations that have a reviewer who would make the count rise."""
    signed = {person.name for person in people}
    offered = {
        each.organisation: each
        for each in manifest.signers
        if each.role == "reviewer"
        and each.organisation != vendor.organisation
        and each.name not in signed
        and each.expires > now.timestamp()
    }
    for organisation, person in offered.items():
        if counted([*people, person]) > counted(people):
            yield organisation


def _signature(role: str, public_key: bytes, manifest: Manifest | None, fault: str) -> Signature:
    signer = manifest.signer(public_key) if manifest else None
    name = signer.name if signer else public_key.hex()[:16]
    return Signature(role, name, signer.organisation if signer else "", fault)
