"""Who asked and who reviewed: statements, signatures, and when a signature counts."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from google.protobuf.timestamp_pb2 import Timestamp

from protos.bundle import ForgedBundle
from protos.bundle import verify as verify_bundle
from protos.canonical import Value, canonical_bytes
from protos.manifest import Manifest, Project, Signer, SignerRole
from protos.v1 import job_pb2, question_pb2

NONCE_BYTES = 16
QUESTION_AT_MOST = timedelta(days=2)  # a nonce is remembered as long


class Distrust(StrEnum):
    """Why a signature does not count: a closed set, for the words leave the hospital."""

    UNSIGNED = "unsigned"
    NO_MANIFEST = "no_manifest"
    MANIFEST_EXPIRED = "manifest_expired"
    UNKNOWN_SIGNER = "unknown_signer"
    WRONG_ROLE = "wrong_role"
    SIGNER_EXPIRED = "signer_expired"
    BAD_SIGNATURE = "bad_signature"
    SIGNATURE_EXPIRED = "signature_expired"
    VALID_TOO_LONG = "valid_too_long"
    REPLAYED = "replayed"
    TOO_FEW_REVIEWS = "too_few_reviews"
    UNKNOWN_PROJECT = "unknown_project"
    PROJECT_EXPIRED = "project_expired"
    WRONG_ORGANISATION = "wrong_organisation"
    WRONG_HOSPITAL = "wrong_hospital"
    TERMS_DIFFER = "terms_differ"
    CHAIN_BROKEN = (
        "chain_broken"  # a round's weights are not those the round before is said to make
    )


class Distrusted(Exception):
    """A signature does not count here."""

    def __init__(self, why: Distrust) -> None:
        super().__init__(why.replace("_", " "))
        self.why = why


def question_statement(question: question_pb2.Question, federation: str) -> bytes:
    """Return what a requester signs: all that is asked, for which project, until when, once."""
    compared, unit = question_pb2.Operator.items(), question_pb2.CountUnit
    statement: dict[str, Value] = {
        "federation": federation,
        "project": question.project,
        "unit": _word(unit.items(), question.unit),
        "where": [
            {"field": p.field, "operator": _word(compared, p.operator), "values": [*p.values]}
            for p in question.where
        ],
        "group_by": [*question.group_by],
        "nonce": question.signed.nonce.hex(),
        "expires": _seconds(question.signed.expires_at),
    }
    if question.tier:  # a gateway that knows no tiers then finds the signature wrong, and refuses
        statement["tier"] = _word(question_pb2.Tier.items(), question.tier)
    return canonical_bytes("question", statement)


def sign_question(
    question: question_pb2.Question,
    federation: str,
    key: Ed25519PrivateKey,
    nonce: bytes,
    expires_at: datetime,
) -> None:
    """Put the requester's signature on a question."""
    signed = question.signed
    signed.public_key = key.public_key().public_bytes_raw()
    signed.nonce = nonce
    signed.expires_at.FromDatetime(expires_at.replace(microsecond=0))
    signed.signature = key.sign(question_statement(question, federation))


def verify_question(
    question: question_pb2.Question, manifest: Manifest | None, site: str, now: datetime
) -> Signer:
    """Return who asks; Distrusted where the signature does not count here and now."""
    if not question.HasField("signed"):
        raise Distrusted(Distrust.UNSIGNED)
    signed = question.signed
    asker = _signer(manifest, signed.public_key, "requester", now)
    assert manifest is not None
    if len(signed.nonce) != NONCE_BYTES:
        raise Distrusted(Distrust.BAD_SIGNATURE)
    _check(signed.public_key, signed.signature, question_statement(question, manifest.federation))
    expires_at = _moment(signed.expires_at)
    if expires_at <= now:
        raise Distrusted(Distrust.SIGNATURE_EXPIRED)
    if expires_at > now + QUESTION_AT_MOST:
        raise Distrusted(Distrust.VALID_TOO_LONG)
    _project(manifest, question.project, asker, site, now)
    return asker


def review_statement(offer: job_pb2.JobOffer, federation: str) -> bytes:
    """Return what a reviewer signs: this job, this bundle, these terms."""
    terms = offer.terms
    fields: dict[str, Value] = {
        "federation": federation,
        "job": offer.job_id,
        "bundle": offer.bundle_digest.hex(),
        "project": terms.project,
        "rounds": terms.rounds,
        "weights": terms.weights_digest.hex(),
        "sites": sorted(terms.sites),
        "expires": _seconds(terms.expires_at),
    }
    return canonical_bytes("review", fields)


def sign_review(offer: job_pb2.JobOffer, federation: str, key: Ed25519PrivateKey) -> job_pb2.Review:
    return job_pb2.Review(
        public_key=key.public_key().public_bytes_raw(),
        signature=key.sign(review_statement(offer, federation)),
    )


def verify_vendor(offer: job_pb2.JobOffer, manifest: Manifest | None, now: datetime) -> Signer:
    """Return whose bundle it is; Distrusted where the manifest does not know its vendor."""
    vendor = _signer(manifest, offer.vendor_key, "vendor", now)
    try:
        verify_bundle(offer.bundle_digest, offer.vendor_key, offer.vendor_signature)
    except ForgedBundle as fault:
        raise Distrusted(Distrust.BAD_SIGNATURE) from fault
    return vendor


def verify_review(
    offer: job_pb2.JobOffer,
    review: job_pb2.Review,
    manifest: Manifest | None,
    vendor: Signer,
    now: datetime,
) -> Signer:
    """Return who reviewed; nobody reviews what their own organisation made."""
    reviewer = _signer(manifest, review.public_key, "reviewer", now)
    assert manifest is not None
    if reviewer.organisation == vendor.organisation:
        raise Distrusted(Distrust.WRONG_ORGANISATION)
    _check(review.public_key, review.signature, review_statement(offer, manifest.federation))
    return reviewer


def counted(reviewers: Iterable[Signer]) -> int:
    """Say how many reviews these are: people, and of one organisation no more than one."""
    people = {reviewer.name: reviewer.organisation for reviewer in reviewers}
    return len(people) if len(set(people.values())) > 1 else min(len(people), 1)


def verify_offer(
    offer: job_pb2.JobOffer, manifest: Manifest | None, site: str, reviewers: int, now: datetime
) -> Signer:
    """Return the vendor of a job that enough reviewers approved for this site.

    Each signature that is there must count: one that does not is a sign of foul play, not a gap.
    """
    vendor = verify_vendor(offer, manifest, now)
    assert manifest is not None
    if not offer.HasField("terms"):
        raise Distrusted(Distrust.TOO_FEW_REVIEWS)
    terms = offer.terms
    _project(manifest, terms.project, vendor, site, now)
    if site not in terms.sites:
        raise Distrusted(Distrust.WRONG_HOSPITAL)
    if offer.rounds > terms.rounds:
        raise Distrusted(Distrust.TERMS_DIFFER)
    if _moment(terms.expires_at) <= now:
        raise Distrusted(Distrust.SIGNATURE_EXPIRED)
    people = [verify_review(offer, review, manifest, vendor, now) for review in offer.reviews]
    if counted(people) < reviewers:
        raise Distrusted(Distrust.TOO_FEW_REVIEWS)
    return vendor


def _signer(
    manifest: Manifest | None, public_key: bytes, role: SignerRole, now: datetime
) -> Signer:
    if manifest is None:
        raise Distrusted(Distrust.NO_MANIFEST)
    if not manifest.is_current(now.timestamp()):
        raise Distrusted(Distrust.MANIFEST_EXPIRED)
    signer = manifest.signer(public_key)
    if signer is None:
        raise Distrusted(Distrust.UNKNOWN_SIGNER)
    if signer.role != role:
        raise Distrusted(Distrust.WRONG_ROLE)
    if signer.expires <= now.timestamp():
        raise Distrusted(Distrust.SIGNER_EXPIRED)
    return signer


def _project(manifest: Manifest, name: str, signer: Signer, site: str, now: datetime) -> Project:
    """Return a project that runs, of the signer's organisation, at this hospital."""
    project = manifest.project(name)
    if project is None:
        raise Distrusted(Distrust.UNKNOWN_PROJECT)
    if project.expires <= now.timestamp():
        raise Distrusted(Distrust.PROJECT_EXPIRED)
    if signer.organisation not in project.organisations:
        raise Distrusted(Distrust.WRONG_ORGANISATION)
    if site not in project.hospitals:
        raise Distrusted(Distrust.WRONG_HOSPITAL)
    return project


def _check(public_key: bytes, signature: bytes, statement: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, statement)
    except (InvalidSignature, ValueError) as fault:
        raise Distrusted(Distrust.BAD_SIGNATURE) from fault


def _moment(stamp: Timestamp) -> datetime:
    """Return a time that was signed; nobody signs one that does not exist."""
    try:
        return stamp.ToDatetime(UTC)
    except (ValueError, OverflowError) as fault:
        raise Distrusted(Distrust.BAD_SIGNATURE) from fault


def _seconds(stamp: Timestamp) -> int:
    _moment(stamp)
    return stamp.ToSeconds()


def _word(words: Iterable[tuple[str, int]], number: int) -> str:
    """Return an enum's word; a number of a newer treaty stays a number."""
    return next((word for word, known in words if known == number), str(number))
