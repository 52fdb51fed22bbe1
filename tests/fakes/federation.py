"""A real coordinator on loopback, in this process, and what its tests ask of it."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import grpc
import grpc.aio

from coordinator.api.client import Credential, Federation
from coordinator.app.process import Coordinator
from coordinator.app.setup import initialise
from coordinator.config import load
from protos.identity import Invitation
from protos.v1.enrolment_pb2 import EnrolRequest, EnrolResponse
from protos.v1.enrolment_pb2_grpc import EnrolmentServiceStub
from tests.fakes import gateway_client
from tests.fakes.gateway_client import FakeGateway

T = TypeVar("T")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RunningFederation:
    def __init__(self, directory: Path, address: str) -> None:
        self.directory = directory
        self.address = address
        self.ahead = 0.0
        self.credential = Credential.load(directory / "operator")
        config = load(directory / "coordinator.toml")
        self.coordinator = Coordinator(config, lambda: time.time() + self.ahead)

    def days_pass(self, days: float) -> None:
        self.ahead += days * 86400

    async def asked(
        self, call: Callable[[Federation], T], credential: Credential | None = None
    ) -> T:
        """Call the coordinator as an operator does, from another thread."""

        def ask() -> T:
            with Federation(credential or self.credential) as client:
                return call(client)

        return await asyncio.to_thread(ask)

    async def invited(self, site: str) -> str:
        return (await self.asked(lambda client: client.invite(site))).token

    async def enrolled(self, site: str) -> FakeGateway:
        return await gateway_client.enrol(await self.invited(site), self.address)

    async def enrol_call(self, token: str, request: EnrolRequest) -> EnrolResponse:
        credentials = gateway_client.invitation_credentials(Invitation.decode(token))
        async with grpc.aio.secure_channel(self.address, credentials) as channel:
            return await EnrolmentServiceStub(channel).Enrol(request, timeout=10)


def make(directory: Path, extra: str = "", *, reviews: bool = False) -> str:
    """Make a federation on a free port; return its address."""
    address = f"127.0.0.1:{free_port()}"
    made = initialise(directory, "demo", [address], datetime.now(UTC))
    settings = made.config.read_text()
    if not reviews:  # most tests are not about reviews
        settings = settings.replace("reviews = 2 ", "reviews = 0 ")
    made.config.write_text(settings + "\n" + extra)
    return address


@asynccontextmanager
async def a_federation(
    directory: Path, extra: str = "", *, reviews: bool = False
) -> AsyncIterator[RunningFederation]:
    federation = RunningFederation(directory, make(directory, extra, reviews=reviews))
    await federation.coordinator.start()
    try:
        yield federation
    finally:
        await federation.coordinator.stop()


@asynccontextmanager
async def connected(*gateways: FakeGateway) -> AsyncIterator[None]:
    """Keep gateways connected, reconnecting as real ones do."""
    running = [asyncio.create_task(gateway.run_for_ever()) for gateway in gateways]
    try:
        for gateway in gateways:
            await asyncio.wait_for(gateway.welcomed.wait(), 10)
        yield
    finally:
        for task in running:
            task.cancel()
        for task in running:
            with suppress(asyncio.CancelledError):
                await task
