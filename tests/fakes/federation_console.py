"""The federation's console over a real coordinator, in a thread of its own, and who comes to it."""

import asyncio
import threading
import time
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import structlog

from coordinator.app.authority import Authority
from coordinator.config import load
from protos.identity import Role
from protos.manifest import Manifest, sign_manifest
from protos.v1.question_pb2 import Answer, AnswerState, Cell
from protos.vocabulary import labels
from tests.fakes.console import Person
from tests.fakes.federation import RunningFederation, connected, make

CONSOLE = "[console]\nport = 0\n"


class ConsoleFederation:
    """A running coordinator with pages; `do` runs something on its loop."""

    def __init__(
        self, running: RunningFederation, loop: asyncio.AbstractEventLoop, gateways=()
    ) -> None:
        self.running = running
        self.gateways = gateways
        self._loop = loop

    @property
    def address(self) -> str:
        return self.running.coordinator.addresses()["console"]

    def first_link(self) -> str:
        return Path(self.running.coordinator.addresses()["console_link"]).read_text().strip()

    def do(self, work, timeout=60):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def invite(self, name, role=Role.OPERATOR, organisation=""):
        """Return the link that makes somebody's account."""
        from contextlib import closing

        from coordinator.app.accounts import open_accounts

        with closing(open_accounts(self.running.coordinator.config)) as accounts:
            token = accounts.invite(role, "test", name=name, organisation=organisation)
        return f"{self.address}/enter/{token}"

    def somebody(self, name="li", role=Role.OPERATOR, organisation=""):
        """Return a person with an account, who is in."""
        person = Person(self.address)
        link = self.invite(name, role, organisation).removeprefix(self.address)
        person.make_account(link, name)
        return person

    def events(self, name):
        """Return what the trail has of one kind of event."""
        return [e for e in self.running.coordinator.rooms.audit.entries() if e["event"] == name]


@contextmanager
def a_console_federation(home: Path, *hospitals: str, extra: str = "", reviews: bool = False):
    """Run a coordinator with its console, and a gateway without a hospital for each name."""
    make(home, CONSOLE + extra, reviews=reviews)
    with a_console_at(home, *hospitals) as console:
        yield console


@contextmanager
def a_console_at(home: Path, *hospitals: str):
    """Run a federation that was made already, with its console."""
    address = load(home / "coordinator.toml").listen.public_address
    running = RunningFederation(home, address)
    ready, over = threading.Event(), threading.Event()
    told: dict[str, object] = {}

    async def federation() -> None:
        await running.coordinator.start()
        try:
            gateways = [await running.enrolled(name) for name in hospitals]
            for number, gateway in enumerate(gateways):
                gateway.answering = counting(100 * (number + 1))
            async with connected(*gateways):
                told["loop"], told["gateways"] = asyncio.get_running_loop(), gateways
                ready.set()
                await asyncio.to_thread(over.wait)
        finally:
            await running.coordinator.stop()

    thread = threading.Thread(target=lambda: asyncio.run(federation()), daemon=True)
    before = structlog.get_config()
    # The coordinator logs in this process, where the commands' answers are read.
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    thread.start()
    try:
        assert ready.wait(60)
        yield ConsoleFederation(running, told["loop"], told["gateways"])
    finally:
        over.set()
        thread.join(20)
        structlog.configure(**before)


def counting(base):
    """Answer every cell of the vocabulary: the n-th has `base` and n."""

    def answer(question):
        cells = [
            Cell(values=values, state=AnswerState.ANSWER_STATE_VALUE, count=base + number)
            for number, values in enumerate(product(*map(labels, question.group_by)))
        ]
        return Answer(
            question_id=question.question_id,
            state=AnswerState.ANSWER_STATE_VALUE,
            cells=cells,
            sigma=10.0,
            rho=0.005,
            epoch="2026Q4",
        )

    return answer


def install_manifest(home: Path, **parts) -> None:
    """Have the federation's own root sign who counts, and put it in force."""
    now = int(time.time())
    manifest = Manifest(
        **{"federation": "demo", "version": 1, "not_before": now - 300, "expires": now + 8640000}
        | parts
    )
    root = Authority.load(home / "root").open(lambda _name: None, {})
    file = load(home / "coordinator.toml").manifest_file
    file.write_bytes(sign_manifest(manifest, root.key))
    file.chmod(0o600)
