"""Every rpc, with messages nobody honest sends: refused, on the trail, and nobody else notices.

The messages come from the treaty's descriptors and a seed. RADFED_FUZZ=200 makes so many for
each rpc (and RADFED_FUZZ_SEED others); the default is small.
"""

import asyncio
import os
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from coordinator.api.client import Credential
from coordinator.app.setup import issue_person
from coordinator.link.door import BULK_BYTES, CONTROL_BYTES, LIMITS
from coordinator.registry.rules import MAY_CALL
from protos.identity import Invitation, Role
from protos.v1 import enrolment_pb2, federation_pb2, link_pb2
from tests.fakes.federation import a_federation
from tests.fakes.gateway_client import invitation_credentials
from tests.fakes.generated import Generator, spoken_with
from tests.flow.test_coordinator_rounds import a_bundle, submit

pytestmark = [pytest.mark.attack, pytest.mark.flow]

EACH = int(os.environ.get("RADFED_FUZZ", "4"))
SEED = int(os.environ.get("RADFED_FUZZ_SEED", "1"))
PATIENCE = 1.0  # a conversation that is let in goes on: it is hung up here
RPCS: list[MethodDescriptor] = [
    rpc
    for module in (enrolment_pb2, federation_pb2, link_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for rpc in service.methods
]
REFUSED = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.DATA_LOSS,
    }
)
# gRPC's client, where the call was ended while it had more to say: nothing of it is the server's.
UNHEARD = "Internal error from Core"
HARMLESS = REFUSED | {
    grpc.StatusCode.OK,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
}
PEOPLE = (Role.OPERATOR, Role.VENDOR, Role.REVIEWER, Role.REQUESTER, Role.AUDITOR)


def path(rpc: MethodDescriptor) -> str:
    return f"{rpc.containing_service.full_name}/{rpc.name}"


async def status(channel: grpc.aio.Channel, rpc: MethodDescriptor, raws: list[bytes]):
    """Call with raw bytes; return how it ended."""
    shape = f"{'stream' if rpc.client_streaming else 'unary'}_"
    shape += "stream" if rpc.server_streaming else "unary"
    call = getattr(channel, shape)(
        f"/{path(rpc)}",
        request_serializer=None,
        response_deserializer=GetMessageClass(rpc.output_type).FromString,
    )
    try:
        ending = call(_each(raws) if rpc.client_streaming else raws[0], timeout=PATIENCE)
        if rpc.server_streaming:
            async for _ in ending:
                pass
        else:
            await ending
    except grpc.aio.AioRpcError as fault:
        if (fault.details() or "").startswith(UNHEARD):
            return grpc.StatusCode.ABORTED
        return fault.code()
    return grpc.StatusCode.OK


async def _each(raws: list[bytes]):
    for raw in raws:
        yield raw


class Callers:
    """One channel for each role, and one for nobody."""

    def __init__(self, federation, directory, stack: AsyncExitStack) -> None:
        self.federation = federation
        self._directory = directory
        self._stack = stack
        self.channels: dict[Role | None, grpc.aio.Channel] = {}

    async def come(self) -> None:
        config = self._directory / "c" / "coordinator.toml"
        for role in PEOPLE:
            into = self._directory / role
            issue_person(config, role, f"fuzz-{role}", "acme", into, datetime.now(UTC))
            person = Credential.load(into)
            await self._call_as(
                role,
                grpc.ssl_channel_credentials(
                    person.roots_pem, person.key_pem, person.certificate_pem
                ),
            )
        alpha = await self.federation.enrolled("alpha")
        await self._call_as(Role.GATEWAY, alpha.credentials)
        token = Invitation.decode(await self.federation.invited("victim"))
        await self._call_as(Role.INVITATION, invitation_credentials(token))
        roots = self.federation.credential.roots_pem
        await self._call_as(None, grpc.ssl_channel_credentials(roots))

    async def _call_as(self, role: Role | None, credentials: grpc.ChannelCredentials) -> None:
        opened = grpc.aio.secure_channel(self.federation.address, credentials)
        self.channels[role] = await self._stack.enter_async_context(opened)

    def who(self, rpc: MethodDescriptor, *, may: bool) -> list[Role]:
        allowed = MAY_CALL[path(rpc)]
        return [role for role in self.channels if role is not None and (role in allowed) is may]


async def honest(federation) -> None:
    """Do what an operator does every day."""
    sites = await federation.asked(lambda client: client.sites())
    assert {"alpha", "victim"} <= {site.name for site in sites}
    await federation.asked(lambda client: client.questions())


def test_no_rpc_can_be_hurt_by_what_it_is_sent(tmp_path, tables_in):
    found: Counter[tuple[str, str]] = Counter()

    async def story():
        async with AsyncExitStack() as stack:
            federation = await stack.enter_async_context(a_federation(tmp_path / "c", tables_in))
            callers = Callers(federation, tmp_path, stack)
            await callers.come()
            job = await federation.asked(submit(a_bundle(tmp_path), Ed25519PrivateKey.generate()))
            (shown,) = await federation.asked(lambda client: client.jobs())
            offer = (await federation.asked(lambda client: client.job(job))).offer
            known = (offer.bundle_digest, offer.terms.weights_digest)
            texts = ("victim", job, shown.name)
            generator = Generator(SEED, texts, known)
            for rpc in RPCS:
                for role in callers.who(rpc, may=True):
                    for _ in range(EACH):
                        raws = [
                            generator.message(rpc.input_type).SerializeToString() for _ in range(3)
                        ]
                        ended = await status(callers.channels[role], rpc, raws)
                        found[path(rpc), ended.name] += 1
                        assert ended in HARMLESS, (path(rpc), role, ended, raws)
                await honest(federation)
            return federation.coordinator.rooms.audit.verify()

    entries = asyncio.run(story())

    assert {rpc for rpc, _ in found} == {path(rpc) for rpc in RPCS}
    assert sum(n for (_, code), n in found.items() if code in {c.name for c in REFUSED}) > 0
    assert entries > 0


def test_who_may_not_call_is_refused_at_every_rpc_and_on_the_trail(tmp_path):
    async def story():
        async with AsyncExitStack() as stack:
            federation = await stack.enter_async_context(a_federation(tmp_path / "c"))
            callers = Callers(federation, tmp_path, stack)
            await callers.come()
            generator, ends, denied = Generator(SEED), {}, 0
            for rpc in RPCS:
                raws = [generator.message(rpc.input_type).SerializeToString()]
                for role in callers.who(rpc, may=False):
                    ended = await status(callers.channels[role], rpc, raws)
                    assert ended is grpc.StatusCode.PERMISSION_DENIED, (path(rpc), role)
                    denied += 1
                ends[path(rpc)] = await status(callers.channels[None], rpc, raws)
            await honest(federation)
            trail = list(federation.coordinator.rooms.audit.entries())
            return denied, ends, [each for each in trail if each["event"] == "call_refused"]

    denied, ends, refused = asyncio.run(story())

    assert len(refused) == denied > 100
    assert {each["method"] for each in refused} == {path(rpc) for rpc in RPCS}
    # Without a certificate there is not even a handshake.
    assert set(ends.values()) <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


def test_every_rpc_refuses_what_is_too_long_and_what_is_no_message(tmp_path):
    async def story():
        async with AsyncExitStack() as stack:
            federation = await stack.enter_async_context(a_federation(tmp_path / "c"))
            callers = Callers(federation, tmp_path, stack)
            await callers.come()
            for rpc in RPCS:
                channel = callers.channels[callers.who(rpc, may=True)[0]]
                limit = LIMITS.get(path(rpc), CONTROL_BYTES)
                # A field nobody knows: only its length is wrong.
                body = bytes(limit + 1 if limit < BULK_BYTES else limit)
                long = b"\x82\x7d" + _varint(len(body)) + body
                ended = await status(channel, rpc, [long])
                assert ended is grpc.StatusCode.RESOURCE_EXHAUSTED, (path(rpc), ended)
                ended = await status(channel, rpc, [b"\xff" * 64])
                assert ended is grpc.StatusCode.INVALID_ARGUMENT, (path(rpc), ended)
            await honest(federation)

    asyncio.run(story())


NASTY = (
    "'); DROP TABLE site; DELETE FROM audit; --",
    "\x00\x1b]0;owned\x07\r\nlevel=error",
    "\u202egnp.\u2066' OR '1'='1",
)


def test_no_text_in_any_field_of_any_rpc_reaches_a_table_or_a_log_as_more_than_text(
    tmp_path, tables_in, capfd
):
    asked: Counter[str] = Counter()

    async def story():
        async with AsyncExitStack() as stack:
            federation = await stack.enter_async_context(a_federation(tmp_path / "c", tables_in))
            callers = Callers(federation, tmp_path, stack)
            await callers.come()
            for rpc in RPCS:
                role = callers.who(rpc, may=True)[0]
                for text in NASTY:
                    for message in spoken_with(text, rpc.input_type):
                        raws = [message.SerializeToString()]
                        ended = await status(callers.channels[role], rpc, raws)
                        asked[path(rpc)] += 1
                        assert ended in HARMLESS, (path(rpc), role, ended, text)
            await honest(federation)
            return list(federation.coordinator.rooms.audit.entries())

    trail = asyncio.run(story())

    assert set(asked) == {path(rpc) for rpc in RPCS}
    assert any(event["event"] == "call_refused" or "invited" in event["event"] for event in trail)
    said = "".join(capfd.readouterr())
    assert not [text for text in NASTY if text in said]
    assert "\x07" not in said


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    made.append(number)
    return bytes(made)
