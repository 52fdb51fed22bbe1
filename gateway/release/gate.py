"""The output gate: the only maker of `Released`, and every `Released` is in the ledger first."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import InitVar, dataclass, field, replace
from datetime import UTC, datetime
from math import isfinite

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from gateway.errors import GatewayError
from gateway.policy import Policy
from gateway.release.condition import Condition, coarse
from gateway.release.integers import Draws, check_integers
from gateway.release.ledger import Ledger
from gateway.release.logs import redacted
from gateway.release.masking import Masking, summand, write_masked
from gateway.release.normal import SecureNormal
from gateway.release.rules import (
    Kind,
    Withheld,
    check_answer,
    check_checkpoint,
    check_decision,
    check_outcome,
    identifies_work,
)
from gateway.release.statistics import check_statistics, parsed
from gateway.release.sum_steps import check_sum
from gateway.release.tensors import CheckedUpdate, TensorCode, check_update
from gateway.release.tensors import Withheld as KeptUpdate
from gateway.release.updates import ReleasedUpdate, UpdateShelf
from protos.job_manifest import JobManifest, MetricSpec
from protos.repeats import Span, outline, rest
from protos.statistics_vector import row_of
from protos.tensors import Buffer
from protos.v1 import enrolment_pb2, job_pb2, link_pb2, question_pb2, sum_pb2
from protos.vocabulary import PROTOCOL_VERSIONS

CHUNK_BYTES = 1 << 20  # the treaty's limit for one chunk
CONTROL_BYTES = 64 << 10  # and for one control message
NO_BOUND = "no leakage bound"
_GATE = object()  # known to this module alone: without it nobody makes a `Released`


class GateShut(GatewayError):
    """Somebody inside tried to send what may not leave."""

    def __init__(self, kind: Kind, withheld: Withheld) -> None:
        super().__init__(f"the gate kept a message in ({kind}: {withheld.code}): see the audit")
        self.withheld = withheld


@dataclass(frozen=True, slots=True)
class Released:
    """Bytes that may go to the network once: they are already in the ledger."""

    kind: Kind
    payload: bytes = field(repr=False)
    entry: int
    token: InitVar[object]  # not kept: who holds one `Released` cannot make another from it

    def __post_init__(self, token: object) -> None:
        if token is not _GATE:
            raise TypeError("only the gate releases")


class Gate:
    """One method for each kind of thing that leaves; each call is one send attempt."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        ledger: Ledger,
        shelf: UpdateShelf,
        codes: Collection[str],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._policy = policy
        self._ledger = ledger
        self._shelf = shelf
        self._codes = frozenset(codes)
        self._now = now

    def hello(self, software_version: str, manifest_version: int = 0) -> Released:
        hello = link_pb2.Hello(
            protocol_versions=PROTOCOL_VERSIONS,
            software_version=software_version,
            clock=self._clock(),
            manifest_version=manifest_version,
        )
        return self._release(Kind.HELLO, "link", "hello", link_pb2.ConnectRequest(hello=hello))

    def heartbeat(self, condition: Condition | None = None) -> Released:
        beat = link_pb2.Heartbeat(clock=self._clock())
        if condition is not None:
            beat.condition.CopyFrom(coarse(condition))
        request = link_pb2.ConnectRequest(heartbeat=beat)
        return self._release(Kind.HEARTBEAT, "link", "heartbeat", request)

    def checkpoint(self, said: link_pb2.CheckpointExchange) -> Released:
        """Release where this house's chains are: links, a signature and a sum, of fixed sizes."""
        self._demand(Kind.CHECKPOINT, check_checkpoint(said))
        request = link_pb2.ConnectRequest(checkpoint=said)
        return self._release(Kind.CHECKPOINT, "link", "checkpoint", request)

    def enrolment(self, csr_der: bytes, software_version: str, approved_by: str) -> Released:
        request = enrolment_pb2.EnrolRequest(csr_der=csr_der, software_version=software_version)
        return self._release(Kind.ENROLMENT, "enrolment", "invited", request, approved_by)

    def renewal(self, csr_der: bytes, software_version: str) -> Released:
        request = enrolment_pb2.RenewRequest(csr_der=csr_der, software_version=software_version)
        return self._release(Kind.RENEWAL, "enrolment", "renewal", request)

    def preflight(self) -> Released:
        request = enrolment_pb2.PreflightRequest()
        return self._release(Kind.PREFLIGHT, "enrolment", "preflight", request)

    def answer(self, report_id: str, answer: question_pb2.Answer) -> Released:
        self._demand(Kind.ANSWER, check_answer(answer, self._policy().questions.threshold))
        request = link_pb2.ConnectRequest(report_id=report_id, answer=answer)
        rule = answer.rule or f"sigma={answer.sigma:g} rho={answer.rho:g} epoch={answer.epoch}"
        return self._release(Kind.ANSWER, answer.question_id, rule, request)

    def decision(self, report_id: str, decision: job_pb2.JobDecision, approved_by: str) -> Released:
        self._demand(Kind.DECISION, check_decision(decision))
        request = link_pb2.ConnectRequest(report_id=report_id, decision=decision)
        rule = decision.rule or "approved"
        return self._release(Kind.DECISION, decision.job_id, rule, request, approved_by)

    def outcome(
        self,
        report_id: str,
        outcome: job_pb2.TaskOutcome,
        approved_by: str,
        metrics: Collection[MetricSpec] = (),
        names: Collection[str] = (),
    ) -> Released:
        """Release a round's report; a digest in it must be one that this gate released."""
        self._demand(Kind.OUTCOME, check_outcome(outcome, self._codes, metrics, names))
        self._demand(Kind.OUTCOME, check_statistics(outcome))
        if outcome.update_digest:
            update = self._shelf.find(outcome.task_id)
            known = update is not None and update.digest == outcome.update_digest.hex()
            self._demand(Kind.OUTCOME, None if known else Withheld("unknown_update"))
        request = link_pb2.ConnectRequest(report_id=report_id, outcome=outcome)
        bits = outcome.leakage_bits
        bound = NO_BOUND if bits < 0 else f"leakage_bits={bits:.0f}"
        rule = outcome.code or bound
        return self._release(Kind.OUTCOME, outcome.task_id, rule, request, approved_by)

    def update(
        self, task_id: str, new: Buffer | None, old: Buffer, manifest: JobManifest
    ) -> ReleasedUpdate | Withheld:
        """Release an update once: whoever asks again for the task gets the same bytes.

        The noise is drawn here and never a second time: two draws over one update average out.
        """
        if (earlier := self._shelf.find(task_id)) is not None:
            return earlier
        if new is None:
            return Withheld(TensorCode.MISSING)
        if manifest.sigma == 0 and not self._policy().jobs.allow_no_noise:
            return Withheld(TensorCode.NO_LEAKAGE_BOUND)
        draft = self._shelf.draft()
        checked = check_update(
            new, old, manifest.weights, manifest.clip, manifest.sigma, SecureNormal(), draft
        )
        if isinstance(checked, KeptUpdate):
            draft.close()
            return Withheld(checked.code, checked.tensor)
        return self._shelf.put(_kept(task_id, checked), draft)

    def summand(
        self,
        task_id: str,
        new: Buffer | None,
        old: Buffer,
        manifest: JobManifest,
        cells: Sequence[int],
        *,
        trains: bool,
    ) -> ReleasedUpdate | Withheld:
        """Keep what goes under a mask, once, as `update` does; it goes by no wire as it is.

        The ledger has its digest before anything of the sum leaves, in an entry of no bytes, and
        the file stays: who asks what left is shown what a masked update hid.
        """
        if (earlier := self._shelf.find(summand(task_id))) is not None:
            return earlier
        if trains and new is None:
            return Withheld(TensorCode.MISSING)
        if trains and manifest.sigma == 0 and not self._policy().jobs.allow_no_noise:
            return Withheld(TensorCode.NO_LEAKAGE_BOUND)
        draft = self._shelf.draft()
        schema = manifest.weights if trains else {}
        checked = check_integers(
            new or b"", old, schema, manifest.clip, manifest.sigma, cells, Draws(), draft
        )
        if isinstance(checked, KeptUpdate):
            draft.close()
            return Withheld(checked.code, checked.tensor)
        rule = f"under a mask: sha256={checked.sha256.hex()} size={checked.size}"
        self._ledger.append(Kind.SUMMAND, task_id, rule, "policy", b"")
        return self._shelf.put(_kept(summand(task_id), checked), draft)

    def statistics(
        self, outcome: job_pb2.TaskOutcome, manifest: JobManifest
    ) -> ReleasedUpdate | Withheld:
        """Keep a test's statistics for under a mask, where they might leave without one, too."""
        if (kept := check_statistics(outcome)) is not None:
            return kept
        said = parsed(outcome.statistics)
        assert said is not None
        assert manifest.protocol is not None
        row = row_of(manifest.protocol, said)
        return self.summand(outcome.task_id, None, b"", manifest, row, trains=False)

    def masked(self, task_id: str, masking: Masking) -> ReleasedUpdate:
        """Put the mask over a kept summand, once; the result is pushed as any update."""
        if (earlier := self._shelf.find(task_id)) is not None:
            return earlier
        kept = self._shelf.find(summand(task_id)) if identifies_work(task_id) else None
        if kept is None:
            raise GateShut(Kind.SUMMAND, Withheld("unknown_update"))
        self._shelf.verify(kept)
        draft = self._shelf.draft()
        size, digest = write_masked(self._shelf.mapped(kept), masking, draft)
        update = replace(kept, task_id=task_id, size=size, digest=digest.hex())
        return self._shelf.put(update, draft)

    def sum_step(self, report_id: str, report: sum_pb2.SumReport, approved_by: str) -> Released:
        """Release a step of a secure sum: keys, sealed or single shares, a signature, a word."""
        self._demand(Kind.SUM, check_sum(report))
        step = report.WhichOneof("step")
        request = link_pb2.ConnectRequest(report_id=report_id, sum=report)
        rule = report.refusal or f"secure sum: {step}"
        return self._release(Kind.SUM, report.task_id, rule, request, approved_by)

    def fetch(self, digest: bytes, offset: int, length: int = 0, chunk: int = 0) -> Released:
        request = link_pb2.FetchRequest(
            digest=digest, offset=offset, length=length, chunk_bytes=chunk, repeats=True
        )
        return self._release(Kind.FETCH, digest.hex(), "fetch", request)

    def held(self, task_id: str) -> Released:
        update = self._released(task_id)
        request = link_pb2.HeldRequest(task_id=task_id, digest=bytes.fromhex(update.digest))
        return self._release(Kind.HELD, task_id, "resume", request)

    def chunks(
        self,
        task_id: str,
        approved_by: str,
        offset: int = 0,
        size: Callable[[], int] = lambda: CHUNK_BYTES,
        *,
        repeats: bool = False,
    ) -> Iterator[Released]:
        """Yield a released update from an offset; each chunk is in the ledger as it is drawn.

        Where the other side takes repeats, what equals earlier bytes goes as a word on them.
        """
        update = self._released(task_id)
        self._shelf.verify(update)
        bound = self._bound(update)
        for span in rest(self._outline(update, bound, repeats=repeats), offset):
            at, end = span.at, span.at + span.length
            while at < end:
                request = link_pb2.PushRequest(
                    task_id=task_id,
                    digest=bytes.fromhex(update.digest),
                    size=update.size,
                    offset=at,
                )
                if span.source is not None:
                    request.repeat.source, request.repeat.length = span.source, span.length
                    at = end
                else:
                    much = min(size(), CHUNK_BYTES, end - at)
                    request.chunk = self._shelf.chunk(update, at, much)
                    at += len(request.chunk)
                yield self._release(Kind.CHUNK, task_id, bound, request, approved_by)

    def hand_over(self, reference: str, log: bytes, words: frozenset[str], approved_by: str) -> str:
        """Return a log's redacted tail for a person to hand on: in the ledger like all that leaves.

        It goes by no wire: nobody can ask for it, and a steward reads each word of it first.
        """
        text = redacted(log, words)
        self._ledger.append(Kind.LOG, reference, "redacted log", approved_by, text.encode("ascii"))
        return text

    def update_size(self, task_id: str) -> int:
        return self._released(task_id).size

    def _outline(self, update: ReleasedUpdate, bound: str, *, repeats: bool) -> Sequence[Span]:
        # Noise and masks repeat nothing: nobody need look.
        if not repeats or bound != NO_BOUND:
            return [Span(0, update.size)]
        return outline(update.size, lambda at, size: self._shelf.chunk(update, at, size))

    def _bound(self, update: ReleasedUpdate) -> str:
        """Say under which rule a chunk leaves."""
        if self._shelf.find(summand(update.task_id)) is not None:
            return "masked for a secure sum"
        return NO_BOUND if update.leakage_bits < 0 else "clipped and noised"

    def _released(self, task_id: str) -> ReleasedUpdate:
        update = self._shelf.find(task_id) if identifies_work(task_id) else None
        if update is None:
            raise GateShut(Kind.CHUNK, Withheld("unknown_update"))
        return update

    def _demand(self, kind: Kind, withheld: Withheld | None) -> None:
        if withheld is not None:
            raise GateShut(kind, withheld)

    def _release(
        self,
        kind: Kind,
        reference: str,
        rule: str,
        message: Message,
        approved_by: str = "policy",
    ) -> Released:
        message.DiscardUnknownFields()
        payload = message.SerializeToString(deterministic=True)
        limit = CONTROL_BYTES + (CHUNK_BYTES if kind is Kind.CHUNK else 0)
        self._demand(kind, Withheld("too_large") if len(payload) > limit else None)
        entry = self._ledger.append(kind, reference, rule, approved_by, payload)
        return Released(kind, payload, entry.number, _GATE)

    def _clock(self) -> Timestamp:
        clock = Timestamp()
        clock.FromDatetime(self._now())
        return clock


def _kept(name: str, checked: CheckedUpdate) -> ReleasedUpdate:
    return ReleasedUpdate(
        task_id=name,
        digest=checked.sha256.hex(),
        size=checked.size,
        leakage_bits=checked.leakage_bits,
        rho=checked.rho if isfinite(checked.rho) else -1.0,
        noise_norm=checked.noise_norm,
    )
