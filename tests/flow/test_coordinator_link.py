"""The link, with real TLS on loopback: enrolment, the control stream, refusals."""

import asyncio
from datetime import UTC, datetime

import grpc
import pytest

from coordinator.api.client import Credential
from coordinator.app.setup import initialise
from coordinator.errors import Refused
from coordinator.link.record import frames
from protos.identity import Invitation
from protos.v1.enrolment_pb2 import EnrolRequest
from protos.v1.link_pb2 import ConnectRequest, Hello
from protos.v1.link_pb2_grpc import LinkServiceStub
from tests.fakes import gateway_client
from tests.fakes.federation import a_federation, connected

pytestmark = pytest.mark.flow


def test_a_hospital_enrols_with_its_token_and_is_seen(tmp_path):
    async def story():
        async with a_federation(tmp_path) as federation:
            alpha = await federation.enrolled("alpha")

            async with connected(alpha):
                (site,) = await federation.asked(lambda client: client.sites())

            assert (site.name, site.standing, site.connected) == ("alpha", "active", True)
            assert abs(site.clock_skew_seconds) < 5

    asyncio.run(story())


def test_an_invitation_is_good_once(tmp_path, tables_in):
    async def story():
        async with a_federation(tmp_path, tables_in) as federation:
            token = await federation.invited("alpha")
            await gateway_client.enrol(token, federation.address)

            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await gateway_client.enrol(token, federation.address)

            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert "used before" in refused.value.details()

    asyncio.run(story())


def test_an_answer_lost_on_the_way_may_be_asked_for_again_with_the_same_key(tmp_path):
    async def story():
        async with a_federation(tmp_path) as federation:
            token, key = await federation.invited("alpha"), gateway_client.new_key()
            request = gateway_client.request_for(key)
            first = await federation.enrol_call(token, EnrolRequest(csr_der=request))

            second = await federation.enrol_call(token, EnrolRequest(csr_der=request))

            assert first.certificate_chain_pem == second.certificate_chain_pem

    asyncio.run(story())


def test_an_invitation_may_do_nothing_but_enrol(tmp_path):
    async def story():
        async with a_federation(tmp_path) as federation:
            token = await federation.invited("alpha")
            credentials = gateway_client.invitation_credentials(Invitation.decode(token))
            intruder = gateway_client.FakeGateway("alpha", federation.address, credentials)

            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await intruder.run()

            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED

    asyncio.run(story())


def test_a_certificate_of_another_authority_is_refused(tmp_path):
    async def story():
        async with a_federation(tmp_path / "ours") as ours:
            initialise(tmp_path / "theirs", "demo", [ours.address], datetime.now(UTC))
            theirs = Credential.load(tmp_path / "theirs" / "operator")
            own = Credential.load(tmp_path / "ours" / "operator")
            stranger = Credential(
                ours.address, own.roots_pem, theirs.certificate_pem, theirs.key_pem
            )

            with pytest.raises(Refused, match="certificate"):
                await ours.asked(lambda client: client.sites(), stranger)
            with pytest.raises(Refused, match="federation"):
                await ours.asked(lambda client: client.sites(), theirs)

    asyncio.run(story())


def test_a_gateway_may_not_act_as_an_operator(tmp_path):
    async def story():
        async with a_federation(tmp_path) as federation:
            alpha = await federation.enrolled("alpha")
            async with grpc.aio.secure_channel(federation.address, alpha.credentials) as channel:
                call = channel.unary_unary("/radfed.v1.SiteService/ListSites")

                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call(b"")

            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
            events = [entry["event"] for entry in federation.coordinator.rooms.audit.entries()]
            assert "call_refused" in events

    asyncio.run(story())


def test_the_newest_certificate_is_the_only_one_in_force(tmp_path, tables_in):
    async def story():
        async with a_federation(tmp_path, tables_in) as federation:
            older = await federation.enrolled("alpha")
            newer = await federation.enrolled("alpha")

            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await older.run()
            async with connected(newer):
                pass

            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED

    asyncio.run(story())


def test_a_certificate_that_runs_out_ends_its_live_stream(tmp_path):
    async def story():
        async with a_federation(tmp_path) as federation:
            alpha = await federation.enrolled("alpha")
            running = asyncio.create_task(alpha.run())
            await asyncio.wait_for(alpha.welcomed.wait(), 5)

            federation.days_pass(31)

            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await asyncio.wait_for(running, 10)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED

    asyncio.run(story())


@pytest.mark.parametrize(
    "first",
    [
        ConnectRequest(),
        ConnectRequest(hello=Hello(protocol_versions=[99])),
    ],
)
def test_a_conversation_nobody_understands_is_ended_with_a_sentence(tmp_path, first):
    async def story():
        async with a_federation(tmp_path) as federation:
            alpha = await federation.enrolled("alpha")
            async with grpc.aio.secure_channel(federation.address, alpha.credentials) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    async for _ in LinkServiceStub(channel).Connect(iter([first])):
                        pass

            assert refused.value.code() in {
                grpc.StatusCode.INVALID_ARGUMENT,
                grpc.StatusCode.FAILED_PRECONDITION,
            }
            assert len(refused.value.details()) > 20

    asyncio.run(story())


@pytest.mark.parametrize("raw", [b"\xff" * 100, b"\0" * (65 << 10)])
def test_garbage_and_oversize_are_refused_and_the_service_lives(tmp_path, raw):
    async def story():
        async with a_federation(tmp_path) as federation:
            alpha = await federation.enrolled("alpha")
            async with grpc.aio.secure_channel(federation.address, alpha.credentials) as channel:
                call = channel.unary_unary("/radfed.v1.LinkService/Held")

                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call(raw)

            assert refused.value.code() in {
                grpc.StatusCode.INVALID_ARGUMENT,
                grpc.StatusCode.RESOURCE_EXHAUSTED,
            }
            async with connected(alpha):
                pass

    asyncio.run(story())


def test_every_received_message_is_recorded_as_it_came(tmp_path):
    async def story():
        async with a_federation(tmp_path, "[record]\ndirectory = 'record'\n") as federation:
            alpha = await federation.enrolled("alpha")
            async with connected(alpha):
                pass

        enrolled = list(frames(tmp_path / "record" / "invitation.alpha.bin"))
        said = list(frames(tmp_path / "record" / "gateway.alpha.bin"))
        assert [method for method, _ in enrolled] == ["radfed.v1.EnrolmentService/Enrol"]
        (method, raw) = said[0]
        assert method == "radfed.v1.LinkService/Connect"
        assert ConnectRequest.FromString(raw).hello.software_version == "0.1.0"

    asyncio.run(story())
