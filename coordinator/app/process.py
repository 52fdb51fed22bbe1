"""The running coordinator: every object built here, started, and stopped in order."""

import asyncio
import fcntl
import gc
import os
import resource
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import grpc
import grpc.aio
import structlog
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from coordinator.app.keys import Keys, checkpoint_key, load_keys
from coordinator.app.metrics import Lag, make_site
from coordinator.app.pages import open_console
from coordinator.app.rooms import furnish, services
from coordinator.app.setup import keep_server_current
from coordinator.app.shown import Shown
from coordinator.app.tables import Tables, open_tables
from coordinator.app.web import Web, plainly
from coordinator.config import CoordinatorConfig, Metrics
from coordinator.errors import EnvironmentFault
from coordinator.link.door import BULK_BYTES, Door
from coordinator.link.record import Recorder
from coordinator.model import Clock
from coordinator.postgres.lease import myself
from coordinator.store.database import Database
from coordinator.store.pulse import Pulse

SWEEP_SECONDS = 2.0
STOP_SECONDS = 3.0
FILES_ENOUGH = 65_536
AGAIN_SECONDS = 2.0  # between two attempts to stand by, after the lease was lost
CONNECT = "radfed.v1.LinkService/Connect"
SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", BULK_BYTES),
    ("grpc.max_send_message_length", BULK_BYTES),
    ("grpc.so_reuseport", 0),  # a second coordinator on the port is an error, not a rival
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # what gRPC 1.85 goes by: left to itself, a minute
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.server_handshake_timeout_ms", 10_000),  # left to itself: two minutes
)

log = structlog.get_logger()


def hold(config: CoordinatorConfig) -> int:
    """Take the data directory for this process alone; EnvironmentFault where another has it."""
    try:
        config.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(config.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as fault:
        raise EnvironmentFault(f"{config.data} cannot be written: {fault.strerror}") from fault
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as fault:
        os.close(descriptor)
        raise EnvironmentFault(f"a coordinator runs on {config.data} already") from fault
    os.ftruncate(descriptor, 0)
    os.write(descriptor, myself().encode())  # so that `status` can say whether it leads
    return descriptor


def is_running(lock_file: Path) -> bool:
    """Say whether a process holds the data directory."""
    try:
        descriptor = os.open(lock_file, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class Coordinator:
    """One started coordinator."""

    def __init__(self, config: CoordinatorConfig, clock: Clock = time.time) -> None:
        self.config = config
        self.port = 0
        self._console = self._console_link = self._metrics = ""
        self.first_link: str | None = None  # makes the console's first account
        self._clock = clock
        self._open = AsyncExitStack()  # closed in the reverse order of opening

    async def start(self) -> None:
        """Open the tables, build the rooms, open the port; leave nothing open on failure.

        Where a standby shares the tables this waits until no other coordinator leads.
        """
        try:
            await self._start()
        except BaseException:
            await self._open.aclose()
            raise

    async def stop(self) -> None:
        """End every stream, let short calls finish, close the tables."""
        await self._open.aclose()

    async def deposed(self) -> None:
        """Return when another coordinator may lead; never, where there is no other."""
        if self._tables.lease is None:
            await asyncio.Event().wait()
        else:
            await self._tables.lease.lost.wait()

    def addresses(self) -> dict[str, str]:
        """Return what is open, for the operator to read."""
        listens = {"listens": _address(self.config.listen.host, self.port)}
        opened = {
            "console": self._console,
            "console_link": self._console_link,
            "metrics": self._metrics,
        }
        return listens | {name: where for name, where in opened.items() if where}

    async def _start(self) -> None:
        config, clock = self.config, self._clock
        self._open.callback(os.close, hold(config))
        load_keys(config, clock())  # a standby says now what would be in its way later
        self._tables = tables = await open_tables(config, clock, self._open)
        await self._lead(tables)

    async def _lead(self, tables: Tables) -> None:
        config, clock, audit = self.config, self._clock, tables.audit
        if tables.lease is not None:
            self._spawn(tables.lease.keep())
        if keep_server_current(config, datetime.fromtimestamp(clock(), UTC)):
            log.info("server_certificate_renewed")
        keys = load_keys(config, clock())
        self.rooms = rooms = await furnish(
            config, clock, keys.authority, tables, checkpoint_key(config)
        )
        pulse = Pulse(tables.database, clock)
        if (away := await pulse.resume()) > 0:
            await audit.record("coordinator_was_away", seconds=round(away))
        self._spawn(pulse.run())
        self._spawn(rooms.driver.run())
        recorder = Recorder(config.record.directory) if config.record else None
        self._door = Door(config.federation, clock, rooms.fleet.check_admitted, audit, recorder)
        self._shown = Shown(config, clock, rooms.fleet.sign_with)
        await self._open_port(keys)
        self._spawn(self._sweep())
        if config.console is not None:
            self._open_console(0 if tables.lease is None else tables.lease.token)
        if config.metrics is not None:
            self._open_metrics(config.metrics, tables.database)

    def _open_console(self, token: int) -> None:
        served = open_console(self.config, self.rooms, self._clock, token)
        self._open.callback(served.accounts.close)
        self._open.push_async_callback(served.indoors.end)
        self._spawn(served.run())
        self._spawn(served.take_back())
        self._spawn(self.rooms.foresight.warm())
        self._console, self.first_link = served.address, served.first_link
        self._console_link = str(served.file) if served.first_link else ""

    def _open_metrics(self, settings: Metrics, database: Database) -> None:
        lag = Lag()
        self._spawn(lag.run())
        site = make_site(self.config, self.rooms, database, self._clock, lag)
        web = Web(settings, plainly(site))
        self._spawn(web.run())
        self._metrics = f"http://{settings.host}:{web.port}/metrics"

    async def _open_port(self, keys: Keys) -> None:
        listen = self.config.listen
        server = grpc.aio.server(options=SERVER_OPTIONS)
        for service, servicer in services(self.config, self.rooms, self._clock):
            server.add_generic_rpc_handlers((self._door.handlers(service, servicer),))
        await self._answer_for_health(server)
        address = _address(listen.host, listen.port)
        try:
            self.port = server.add_secure_port(address, self._shown.credentials(keys))
        except RuntimeError as fault:
            raise EnvironmentFault(
                f"{address} cannot be opened: another program has the port, or it is not allowed"
            ) from fault
        await server.start()
        self._open.push_async_callback(server.stop, STOP_SECONDS)
        self._open.callback(self.rooms.switchboard.cut_all)
        log.info("coordinator_listens", address=_address(listen.host, self.port))

    async def _answer_for_health(self, server: grpc.aio.Server) -> None:
        """Serve grpc.health.v1 behind the same mutual TLS, for whoever has a certificate."""
        serving = HealthServicer()
        add_HealthServicer_to_server(serving, server)
        names = [service.full_name for service, _ in services(self.config, self.rooms, self._clock)]
        for name in ("", *names):
            await serving.set(name, HealthCheckResponse.SERVING)
        self._open.push_async_callback(serving.enter_graceful_shutdown)

    async def _sweep(self) -> None:
        """Cut lines that gRPC would keep: it does not see expiry, suspension or silence."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.rooms.link.follow_manifest()
            await asyncio.to_thread(self._shown.refresh)
            await self.rooms.link.sweep(lambda caller: self._door.check(caller, CONNECT))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(_died)

        async def end() -> None:
            task.cancel()
            await asyncio.wait([task])

        self._open.push_async_callback(end)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def _died(task: asyncio.Task[None]) -> None:
    """Say that a background worker ended; what it served can be restarted by the supervisor."""
    if not task.cancelled() and (fault := task.exception()) is not None:
        log.error("worker_died", kind=type(fault).__name__)


def open_many_files() -> None:
    """Use the hard limit: each caller is a file, those who say nothing too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = FILES_ENOUGH if hard == resource.RLIM_INFINITY else min(FILES_ENOUGH, hard)
    if soft != resource.RLIM_INFINITY and soft < enough:
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))


async def run(config: CoordinatorConfig, started: Callable[[Coordinator], None]) -> None:
    """Run until SIGTERM or SIGINT; a second signal ends at once."""
    open_many_files()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _asked_to_stop, stop, loop, number)
    said = False
    while not stop.is_set():
        coordinator = Coordinator(config)
        if not await _stands(coordinator, stop, patient=said):
            continue
        if not said:
            # What the start made stays: walking it again would hold every page up for 150 ms.
            gc.freeze()
            started(coordinator)
        said = True
        await _first(coordinator.deposed(), stop.wait())
        log.info("coordinator_stops")
        await coordinator.stop()


async def _stands(coordinator: Coordinator, stop: asyncio.Event, *, patient: bool) -> bool:
    """Start, or stop waiting for that; `patient` is one that led before and may lead again."""
    starting = asyncio.ensure_future(coordinator.start())
    await _first(asyncio.shield(starting), stop.wait())
    if not starting.done():
        starting.cancel()
        await asyncio.wait([starting])
        return False
    try:
        await starting
    except EnvironmentFault as fault:
        if not patient:
            raise
        log.warning("coordinator_waits", says=str(fault))
        await _first(stop.wait(), asyncio.sleep(AGAIN_SECONDS))
        return False
    return True


async def _first(*waits: Awaitable[object]) -> None:
    """Wait until one is done, whatever it came to, and end the others."""
    tasks = [asyncio.ensure_future(each) for each in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _asked_to_stop(
    stop: asyncio.Event, loop: asyncio.AbstractEventLoop, number: signal.Signals
) -> None:
    stop.set()
    loop.remove_signal_handler(number)
