"""A gateway without a hospital: a plain asyncio client of the treaty."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from hashlib import sha256
from uuid import uuid4

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from protos.identity import Invitation
from protos.transcripts import update_statement
from protos.v1.enrolment_pb2 import EnrolRequest
from protos.v1.enrolment_pb2_grpc import EnrolmentServiceStub
from protos.v1.job_pb2 import Decision, JobDecision, JobOffer, RoundTask, TaskOutcome
from protos.v1.link_pb2 import (
    ConnectRequest,
    ConnectResponse,
    FetchRequest,
    HeldRequest,
    Hello,
    PushRequest,
)
from protos.v1.link_pb2_grpc import LinkServiceStub
from protos.v1.question_pb2 import Answer, AnswerState, Question

CHUNK = 1 << 20
Answering = Callable[[Question], Answer | None]
Working = Callable[["FakeGateway", RoundTask, bytes], "tuple[TaskOutcome, bytes] | None"]


def new_key() -> bytes:
    key = generate_private_key(SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def request_for(key_pem: bytes) -> bytes:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(key_pem, None)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "whatever")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, SHA256())
    return request.public_bytes(Encoding.DER)


def invitation_credentials(invitation: Invitation) -> grpc.ChannelCredentials:
    pem = [
        x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
        for der in (invitation.certificate_der, invitation.issuer_der)
    ]
    root = x509.load_der_x509_certificate(invitation.root_certificate_der)
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    key = load_der_private_key(invitation.private_key_der, None)
    return grpc.ssl_channel_credentials(
        root.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        b"".join(pem),
    )


async def enrol(token: str, address: str, key_pem: bytes | None = None) -> "FakeGateway":
    """Enrol as a hospital does."""
    invitation = Invitation.decode(token)
    key = key_pem or new_key()
    async with grpc.aio.secure_channel(address, invitation_credentials(invitation)) as channel:
        response = await EnrolmentServiceStub(channel).Enrol(
            EnrolRequest(csr_der=request_for(key), software_version="0.1.0"), timeout=10
        )
    credentials = grpc.ssl_channel_credentials(
        response.root_certificates_pem, key, response.certificate_chain_pem
    )
    return FakeGateway(response.site_name, address, credentials)


def _idle(_gateway: "FakeGateway", _task: RoundTask, _weights: bytes) -> None:
    """Never finish a task."""


class FakeGateway:
    """Answers, decides and trains as it is told; repeats each report until it is settled."""

    def __init__(self, site: str, address: str, credentials: grpc.ChannelCredentials) -> None:
        self.site = site
        self.address = address
        self.credentials = credentials
        self.answering: Answering = lambda question: Answer(
            question_id=question.question_id, state=AnswerState.ANSWER_STATE_NOT_SUPPORTED
        )
        self.deciding: Callable[[JobOffer], JobDecision | None] = lambda offer: JobDecision(
            job_id=offer.job_id, decision=Decision.DECISION_APPROVED
        )
        self.working: Working = _idle
        self.versions = [1]
        self.key = Ed25519PrivateKey.generate()
        self.seen: list[ConnectResponse] = []
        self.unsettled: dict[str, ConnectRequest] = {}
        self.settled: list[str] = []
        self.welcomed = asyncio.Event()
        # A task is one piece of work, however often it is offered or its push is cut.
        self._done: dict[str, tuple[TaskOutcome, bytes]] = {}
        self._stub: LinkServiceStub | None = None
        self._outgoing: asyncio.Queue[ConnectRequest | None] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Hold one connection until it ends; raises what ended it."""
        options = [("grpc.initial_reconnect_backoff_ms", 100)]
        async with grpc.aio.secure_channel(self.address, self.credentials, options) as channel:
            self._stub = LinkServiceStub(channel)
            self._outgoing = asyncio.Queue()
            hello = Hello(protocol_versions=self.versions, software_version="0.1.0")
            hello.clock.GetCurrentTime()
            self._outgoing.put_nowait(ConnectRequest(hello=hello))
            for report in self.unsettled.values():
                self._outgoing.put_nowait(report)
            try:
                async for message in self._stub.Connect(self._said()):
                    self._hear(message)
            finally:
                self.welcomed.clear()
                for task in self._tasks:
                    task.cancel()

    async def run_for_ever(self) -> None:
        """Reconnect whenever the connection ends, as a gateway does."""
        while True:
            with suppress(grpc.aio.AioRpcError):
                await self.run()
            await asyncio.sleep(0.1)

    def say(self, **body: object) -> str:
        report = ConnectRequest(report_id=uuid4().hex, **body)
        self.unsettled[report.report_id] = report
        self._outgoing.put_nowait(report)
        return report.report_id

    def say_raw(self, request: ConnectRequest) -> None:
        self._outgoing.put_nowait(request)

    async def fetch(self, digest: bytes, offset: int = 0) -> bytes:
        chunks = self._stub.Fetch(FetchRequest(digest=digest, offset=offset))
        return b"".join([response.chunk async for response in chunks])

    async def push(self, task_id: str, content: bytes, stop_after: int | None = None) -> int:
        """Push from where the coordinator says; `stop_after` chunks simulates a cut link."""
        digest = sha256(content).digest()
        held = (await self._stub.Held(HeldRequest(task_id=task_id, digest=digest))).held
        if held == len(content):
            return held

        async def chunks() -> AsyncIterator[PushRequest]:
            for sent, offset in enumerate(range(held, len(content), CHUNK)):
                if stop_after is not None and sent >= stop_after:
                    return
                yield PushRequest(
                    task_id=task_id,
                    digest=digest,
                    size=len(content),
                    offset=offset,
                    chunk=content[offset : offset + CHUNK],
                )

        return (await self._stub.Push(chunks())).held

    async def held(self, task_id: str, content: bytes) -> int:
        request = HeldRequest(task_id=task_id, digest=sha256(content).digest())
        return (await self._stub.Held(request)).held

    def _said(self) -> AsyncIterator[ConnectRequest]:
        outgoing = self._outgoing

        async def messages() -> AsyncIterator[ConnectRequest]:
            while (message := await outgoing.get()) is not None:
                yield message

        return messages()

    def _hear(self, message: ConnectResponse) -> None:
        self.seen.append(message)
        match message.WhichOneof("body"):
            case "welcome":
                self.welcomed.set()
            case "settled":
                self.unsettled.pop(message.settled.report_id, None)
                self.settled.append(message.settled.report_id)
            case "question":
                answer = self.answering(message.question)
                if answer is not None:
                    self.say(answer=answer)
            case "job_offer":
                decision = self.deciding(message.job_offer)
                if decision is not None:
                    self.say(decision=decision)
            case "round_task":
                task = asyncio.create_task(self._work(message.round_task))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _work(self, task: RoundTask) -> None:
        weights = await self.fetch(task.weights_digest) if task.weights_digest else b""
        worked = self._done.get(task.task_id) or self.working(self, task, weights)
        if worked is None:
            return
        self._done[task.task_id] = worked
        outcome, update = worked
        if update:
            await self.push(task.task_id, update)
            outcome.update_digest = sha256(update).digest()
            outcome.update_size = len(update)
            said = update_statement(task.task_id, outcome.update_digest, outcome.weight)
            outcome.update_key = self.key.public_key().public_bytes_raw()
            outcome.update_signature = self.key.sign(said)
        outcome.task_id = task.task_id
        self.say(outcome=outcome)
