"""The wire from one version to the next: frozen, compared, spoken by an old gateway."""

import asyncio
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep

import pytest

from coordinator.api.parse import parse_question
from gateway.config import Federation as LinkSettings
from gateway.config import GatewayConfig
from gateway.link.enrol import enrol
from gateway.link.link import Link
from gateway.policy import Policy
from gateway.release.gate import Gate
from gateway.release.ledger import Ledger
from gateway.release.updates import UpdateShelf
from protos.v1.link_pb2 import ConnectRequest, ConnectResponse, Settled
from protos.v1.question_pb2 import Answer, AnswerState
from tests.fakes.coordinator_server import FakeCoordinator
from tests.fakes.desk_line import FakeDesk
from tests.fakes.federation import a_federation, connected
from tests.fakes.gateway_client import FakeGateway
from tests.fakes.old_gateway import FROZEN, OldGateway, PreviousWire
from tests.flow.test_coordinator_rounds import a_bundle, submit

pytestmark = pytest.mark.flow

PROTOS = Path(__file__).parents[2] / "protos"
# A field nobody knows, as a newer peer would send it: number 2000, bytes.
UNKNOWN = b"\x82\x7d\x05newer"


def buf_breaking(treaty: Path) -> subprocess.CompletedProcess[str]:
    buf = Path(sys.executable).parent / "buf"
    return subprocess.run(
        [buf, "breaking", "--against", FROZEN],
        capture_output=True, text=True, cwd=treaty, timeout=60, check=False,
    )  # fmt: skip


async def until(claim, seconds: float = 20.0) -> None:
    for _ in range(int(seconds / 0.05)):
        if claim():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come true in time")


def test_todays_treaty_can_be_read_by_the_previous_version():
    done = buf_breaking(PROTOS)

    assert done.returncode == 0, done.stdout


def test_a_field_that_was_renumbered_is_found(tmp_path):
    treaty = tmp_path / "protos"
    shutil.copytree(PROTOS, treaty, ignore=shutil.ignore_patterns("*.py", "*.pyi", "__pycache__"))
    link = treaty / "v1" / "link.proto"
    link.write_text(link.read_text().replace("uint64 held = 1;", "uint64 held = 9;"))

    done = buf_breaking(treaty)

    assert done.returncode != 0
    assert 'field "1" with name "held"' in done.stdout


def test_every_rpc_of_the_previous_version_is_served_still():
    from protos.v1 import enrolment_pb2, federation_pb2, link_pb2

    today = {
        f"{service.full_name}/{rpc.name}"
        for module in (enrolment_pb2, federation_pb2, link_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for rpc in service.methods
    }
    before = {
        f"{file.package}.{service.name}/{rpc.name}"
        for file in PreviousWire().files.file
        for service in file.service
        for rpc in service.method
    }

    assert len(before) >= 20
    assert before <= today


def test_an_old_gateway_enrols_answers_and_decides_with_todays_coordinator(tmp_path):
    async def story():
        async with a_federation(tmp_path / "c") as federation:
            old = OldGateway(PreviousWire(), federation.address)
            await old.enrol(await federation.invited("alpha"))
            talks = asyncio.create_task(old.run(42))
            await asyncio.wait_for(old.welcomed.wait(), 10)
            question = parse_question("Modality = 'CT'", ["PatientSex"], "patients")
            *_, last = await federation.asked(lambda client: list(client.ask(question)))
            bundle = a_bundle(tmp_path)
            job = await federation.asked(submit(bundle))
            await until(lambda: job in old.settled)
            shown = await federation.asked(lambda client: client.job(job))
            (listed,) = await federation.asked(lambda client: client.sites())
            talks.cancel()
            with suppress(asyncio.CancelledError):
                await talks
            return old, last.total, shown, listed, bundle

    old, total, shown, listed, bundle = asyncio.run(asyncio.wait_for(story(), 60))

    assert [(tuple(cell.values), cell.count) for cell in total.cells] == [(("F",), 42)]
    assert total.question_id in old.settled
    assert old.fetched == [bundle]
    assert [part.decision for part in shown.sites] == [2]  # rejected
    assert (listed.connected, listed.software_version) == (True, "0.0.9")


def test_a_newer_gateways_words_do_no_harm(tmp_path):
    async def story():
        async with a_federation(tmp_path) as federation:
            alpha = await federation.enrolled("alpha")
            async with connected(alpha):
                newer = ConnectRequest.FromString(UNKNOWN)
                newer.report_id = "a-body-of-tomorrow"
                alpha.say_raw(newer)
                beat = ConnectRequest(heartbeat={})
                beat.heartbeat.clock.GetCurrentTime()
                beat.heartbeat.MergeFromString(UNKNOWN)
                alpha.say_raw(beat)
                strange = alpha.say(answer=Answer(question_id="q", state=77))
                known = alpha.say(
                    answer=Answer(question_id="q", state=AnswerState.ANSWER_STATE_VALUE)
                )
                await until(lambda: {strange, known} <= set(alpha.settled))
                still = alpha.welcomed.is_set()
            return still, alpha.settled

    still, settled = asyncio.run(asyncio.wait_for(story(), 30))

    assert still
    assert "a-body-of-tomorrow" not in settled  # not understood, so not lost either


def test_a_newer_gateway_is_spoken_to_in_the_version_both_know(tmp_path):
    async def story(versions):
        async with a_federation(tmp_path / str(len(versions))) as federation:
            alpha: FakeGateway = await federation.enrolled("alpha")
            alpha.versions = versions
            talks = asyncio.create_task(alpha.run())
            welcome = asyncio.create_task(alpha.welcomed.wait())
            await asyncio.wait([talks, welcome], return_when=asyncio.FIRST_COMPLETED, timeout=10)
            welcome.cancel()
            if talks.done():
                return talks.exception()
            talks.cancel()
            return alpha.seen[0].welcome.protocol_version

    both = asyncio.run(story([2, 1]))
    none = asyncio.run(story([2, 3, 4]))

    assert both == 1
    assert none.code().name == "FAILED_PRECONDITION"
    assert none.details() == (
        "this coordinator speaks protocol version 1 and the gateway 2, 3, 4: upgrade the older side"
    )


def test_a_newer_coordinators_words_do_no_harm(tmp_path):
    with FakeCoordinator() as coordinator:
        config = GatewayConfig(site="hospital-a", data=tmp_path)
        gate = Gate(Policy, Ledger.open(config.ledger_file), UpdateShelf(tmp_path / "updates"), ())
        credentials = enrol(coordinator.invite("hospital-a"), config, gate, "1.0", "admin")
        desk = FakeDesk(tmp_path / "objects")
        link = Link(
            credentials, LinkSettings(reconnect_seconds_at_most=0.5), gate, desk,
            tmp_path / "link.json", "1.0",
        )  # fmt: skip
        stop = Event()
        runs = Thread(target=link.run, args=(stop,))
        runs.start()
        try:
            coordinator.say.put(ConnectResponse.FromString(UNKNOWN))
            question = ConnectResponse(question={"question_id": "q"})
            question.question.MergeFromString(UNKNOWN)
            coordinator.say.put(question)
            coordinator.say.put(ConnectResponse(settled=Settled(report_id="whatever")))
            deadline = monotonic() + 10
            while not desk.taken and monotonic() < deadline:
                sleep(0.02)
            hellos, up = coordinator.hellos, link.is_connected
        finally:
            stop.set()
            runs.join(10)

    assert [(kind, asked.question_id) for kind, asked in desk.taken] == [("question", "q")]
    assert (hellos, up) == (1, True)
