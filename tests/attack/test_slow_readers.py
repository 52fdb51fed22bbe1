"""Who asks for much and reads nothing costs the coordinator little, and nobody else anything."""

import asyncio
import os
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from time import monotonic

import grpc.aio
import pytest

from coordinator.api.client import Credential
from coordinator.app.setup import issue_person
from protos.identity import Role
from protos.v1.federation_pb2 import DownloadBundleRequest
from protos.v1.federation_pb2_grpc import JobServiceStub
from tests.chaos.running import resident_kilobytes
from tests.fakes.federation import a_federation
from tests.flow.test_coordinator_rounds import a_bundle, submit

pytestmark = [pytest.mark.attack, pytest.mark.flow]

READERS = int(os.environ.get("RADFED_SLOW_READERS", "12"))
BUNDLE_MB = 32
GROWN_MB = 200  # of both ends, for they are in one process: read ahead whole it would be 384


def test_readers_that_read_nothing_hold_no_bundle_in_memory_and_keep_nobody_out(tmp_path):
    async def story():
        async with AsyncExitStack() as stack:
            federation = await stack.enter_async_context(a_federation(tmp_path / "c"))
            await federation.enrolled("alpha")
            (tmp_path / "bundle").mkdir()
            (tmp_path / "bundle" / "weights.bin").write_bytes(os.urandom(BUNDLE_MB << 20))
            job = await federation.asked(submit(a_bundle(tmp_path)))
            config, into = tmp_path / "c" / "coordinator.toml", tmp_path / "reviewer"
            issue_person(config, Role.REVIEWER, "slow", "acme", into, datetime.now(UTC))
            person = Credential.load(into)
            credentials = grpc.ssl_channel_credentials(
                person.roots_pem, person.key_pem, person.certificate_pem
            )
            before, calls = resident_kilobytes(os.getpid()), []
            for number in range(READERS):
                options = (("grpc.use_local_subchannel_pool", 1), ("slow", number))
                opened = grpc.aio.secure_channel(federation.address, credentials, options)
                channel = await stack.enter_async_context(opened)
                call = JobServiceStub(channel).DownloadBundle(DownloadBundleRequest(job_id=job))
                await call.read()  # the first piece, and no more
                calls.append(call)
            await asyncio.sleep(1)
            grown = (resident_kilobytes(os.getpid()) - before) / 1024
            began = monotonic()
            sites = await federation.asked(lambda client: client.sites())
            took = monotonic() - began
            waiting = [call for call in calls if not call.done()]
            for call in calls:
                call.cancel()
            # Whoever reads on gets all of it, right.
            whole = await federation.asked(lambda client: client.job(job).offer.bundle_digest)
            await federation.asked(lambda client: client.bundle(job, whole))
            return grown, took, [site.name for site in sites], len(waiting)

    grown, took, sites, waiting = asyncio.run(story())

    assert waiting == READERS  # the coordinator waits for them: it does not read ahead for them
    assert grown < GROWN_MB
    assert took < 5
    assert sites == ["alpha"]
