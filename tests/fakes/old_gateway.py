"""A gateway of the previous version: it speaks what the frozen descriptors hold, and nothing else.

Its messages are made from `tests/data/wire/previous.binpb` in a pool of their own, so that no
field or name of today's treaty reaches it.
"""

import asyncio
from pathlib import Path

import grpc
import grpc.aio
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from protos.identity import Invitation
from tests.fakes.gateway_client import invitation_credentials, new_key, request_for

FROZEN = Path(__file__).parents[1] / "data" / "wire" / "previous.binpb"


class PreviousWire:
    """The messages of the previous version, by name."""

    def __init__(self) -> None:
        self.files = FileDescriptorSet.FromString(FROZEN.read_bytes())
        self._pool = DescriptorPool()
        for file in self.files.file:
            self._pool.Add(file)

    def kind(self, name: str) -> type[Message]:
        return GetMessageClass(self._pool.FindMessageTypeByName(f"radfed.v1.{name}"))

    def method(self, service: str, name: str):
        return self._pool.FindServiceByName(f"radfed.v1.{service}").methods_by_name[name]

    def call(self, channel: grpc.aio.Channel, service: str, name: str):
        """Return the dynamic stub of one rpc."""
        rpc = self.method(service, name)
        shape = {(False, False): "unary_unary", (False, True): "unary_stream",
                 (True, False): "stream_unary", (True, True): "stream_stream"}[
            rpc.client_streaming, rpc.server_streaming
        ]  # fmt: skip
        return getattr(channel, shape)(
            f"/radfed.v1.{service}/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(
                self._pool.FindMessageTypeByName(rpc.output_type.full_name)
            ).FromString,
        )


class OldGateway:
    """Enrols, renews, connects, answers; unknown bodies it passes over, as gateways always did."""

    def __init__(self, wire: PreviousWire, address: str) -> None:
        self.wire = wire
        self.address = address
        self.welcomed = asyncio.Event()
        self.seen: list[Message] = []
        self.settled: list[str] = []
        self.fetched: list[bytes] = []
        self._out: asyncio.Queue[Message] = asyncio.Queue()

    async def enrol(self, token: str) -> None:
        self._key = new_key()
        invited = invitation_credentials(Invitation.decode(token))
        request = self.wire.kind("EnrolRequest")(
            csr_der=request_for(self._key), software_version="0.0.9"
        )
        async with grpc.aio.secure_channel(self.address, invited) as channel:
            given = await self.wire.call(channel, "EnrolmentService", "Enrol")(request, timeout=10)
        self.site = given.site_name
        self._credentials = grpc.ssl_channel_credentials(
            given.root_certificates_pem, self._key, given.certificate_chain_pem
        )

    async def run(self, cells: int) -> None:
        """Hold one conversation, answering each question with a count."""
        request = self.wire.kind("ConnectRequest")
        async with grpc.aio.secure_channel(self.address, self._credentials) as channel:
            hello = request()
            hello.hello.protocol_versions.append(1)
            hello.hello.software_version = "0.0.9"
            hello.hello.clock.GetCurrentTime()
            self._out.put_nowait(hello)
            self._out.put_nowait(request(heartbeat={}))
            async for message in self.wire.call(channel, "LinkService", "Connect")(self._said()):
                await self._hear(channel, message, cells)

    async def _hear(self, channel: grpc.aio.Channel, message: Message, count: int) -> None:
        self.seen.append(message)
        match message.WhichOneof("body"):
            case "welcome":
                self.welcomed.set()
            case "settled":
                self.settled.append(message.settled.report_id)
            case "question":
                said = self.wire.kind("ConnectRequest")(report_id=message.question.question_id)
                answer = said.answer
                answer.question_id, answer.sigma, answer.epoch = (
                    message.question.question_id,
                    10,
                    "e",
                )
                answer.state = self._state("ANSWER_STATE_VALUE")
                answer.cells.add(values=["F"], state=answer.state, count=count)
                self._out.put_nowait(said)
            case "job_offer":
                fetch = self.wire.call(channel, "LinkService", "Fetch")
                wanted = self.wire.kind("FetchRequest")(digest=message.job_offer.bundle_digest)
                self.fetched.append(b"".join([part.chunk async for part in fetch(wanted)]))
                said = self.wire.kind("ConnectRequest")(report_id=message.job_offer.job_id)
                said.decision.job_id = message.job_offer.job_id
                said.decision.decision = (
                    said.decision.DESCRIPTOR.fields_by_name["decision"]
                    .enum_type.values_by_name["DECISION_REJECTED"]
                    .number
                )
                self._out.put_nowait(said)

    def _state(self, name: str) -> int:
        field = self.wire.kind("Answer").DESCRIPTOR.fields_by_name["state"]
        return field.enum_type.values_by_name[name].number

    async def _said(self):
        while True:
            yield await self._out.get()
