"""Who asks and who reviewed, as this hospital itself finds it."""

from collections.abc import Callable
from datetime import UTC, datetime

from gateway.audit import AuditTrail
from gateway.desk.book import Book
from gateway.desk.rules import Refusal
from gateway.errors import Refused
from gateway.policy import Policy
from gateway.trust import Pins
from protos.signatures import Distrust, Distrusted, verify_offer, verify_question
from protos.v1 import job_pb2, question_pb2


class Signers:
    """Verifies against the pinned manifest, as it and the policy stand now."""

    def __init__(
        self,
        site: str,
        book: Book,
        pins: Pins,
        policy: Callable[[], Policy],
        audit: AuditTrail,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._site = site
        self._book = book
        self._pins = pins
        self._policy = policy
        self._audit = audit
        self._now = now

    def asker(self, question: question_pb2.Question) -> str | Refusal:
        """Return whose budget a question is charged to; a nonce counts once."""
        if not self._policy().trust.signed_questions:
            return question.requester
        now = self._now()
        try:
            asker = verify_question(question, self._pins.manifest(), self._site, now)
        except Distrusted as fault:
            return Refusal(fault.why)
        signed = question.signed
        until = signed.expires_at.ToDatetime(UTC)
        if not self._book.spend_nonce(
            signed.public_key, signed.nonce, question.question_id, until, now
        ):
            return Refusal(Distrust.REPLAYED)
        return f"{asker.organisation}/{asker.name}"

    def judge(self, offer: job_pb2.JobOffer) -> Refusal | None:
        """Demand the vendor's signature and the reviewers', each of the role it claims."""
        reviewers = self._policy().trust.reviewers
        if reviewers == 0:
            return None
        try:
            verify_offer(offer, self._pins.manifest(), self._site, reviewers, self._now())
        except Distrusted as fault:
            return Refusal(fault.why)
        return None

    def judge_weights(self, task: job_pb2.RoundTask, offer: job_pb2.JobOffer) -> Refusal | None:
        """Let the first round begin with the model the reviewers signed, or the bundle's own."""
        signed = self._policy().trust.reviewers > 0 and task.round == 1
        if signed and task.weights_digest not in (b"", offer.terms.weights_digest):
            return Refusal(Distrust.TERMS_DIFFER)
        return None

    def manifest_version(self) -> int:
        return self._pins.version()

    def take_manifest(self, raw: bytes) -> None:
        """Go by a newer manifest of the pinned root; whatever else comes is on the audit trail."""
        if not self._policy().trust.follow_manifest:
            self._audit.record("manifest_not_followed")
            return
        before = self._pins.version()
        try:
            manifest = self._pins.take_manifest(raw)
        except Refused as fault:
            self._audit.record("manifest_refused", says=str(fault))
            return
        if manifest.version > before:
            self._audit.record("manifest_pinned", version=manifest.version, by="root's signature")
