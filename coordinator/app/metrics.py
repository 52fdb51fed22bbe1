"""Numbers for the federation's own monitoring, as Prometheus text: off unless `[metrics]` is set.

Labels are closed sets of words: no hospital, no person, no job is named; `radfed site ls` does.
"""

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from coordinator.app.rooms import Rooms
from coordinator.config import CoordinatorConfig
from coordinator.model import Clock, JobStage, Site, Standing
from coordinator.store.database import Database

SECONDS_A_DAY = 86_400
RENEWS_LATE = 7  # days: a gateway that has fewer has failed to renew for long
TICK_SECONDS = 0.25
WINDOW = 40  # ticks
READ_SECONDS = 3.0
ROOM = 256 << 20


@dataclass(frozen=True, slots=True)
class Described:
    """One metric as it is documented."""

    name: str
    says: str
    labels: tuple[str, ...] = ()


SITES = Described("radfed_coordinator_sites", "Hospitals by standing.", ("standing",))
CONNECTED = Described("radfed_coordinator_sites_connected", "Hospitals whose stream is open.")
OFFLINE = Described(
    "radfed_coordinator_sites_offline", "Active hospitals whose stream is not open."
)
ENDING = Described(
    "radfed_coordinator_certificates_ending",
    "Active hospitals whose certificate ends within 7 days.",
)
SKEW = Described(
    "radfed_coordinator_clock_skew_seconds", "The largest clock skew of a connected hospital."
)
FAULTS = Described(
    "radfed_coordinator_chain_faults", "Houses with whom an exchange of checkpoints found a fault."
)
REFUSING = Described(
    "radfed_coordinator_sites_refusing", "Connected hospitals whose disk takes no instances."
)
JOBS = Described("radfed_coordinator_jobs", "Jobs by stage.", ("stage",))
DISK = Described("radfed_coordinator_disk_free_bytes", "Free bytes where the data directory is.")
CERTIFICATE = Described(
    "radfed_coordinator_certificate_days",
    "Days until a certificate of the coordinator ends; negative when it has.",
    ("certificate",),
)
MANIFEST = Described(
    "radfed_coordinator_manifest_version", "The manifest in force; 0 where there is none."
)
LAG = Described(
    "radfed_coordinator_loop_lag_seconds", "The longest wait of the loop in the last 10 seconds."
)
ALL = (
    SITES, CONNECTED, OFFLINE, ENDING, SKEW, FAULTS, REFUSING, JOBS, DISK, CERTIFICATE, MANIFEST,
    LAG,
)  # fmt: skip


class Lag:
    """Measures how late the loop wakes whoever asked to be woken."""

    def __init__(self) -> None:
        self._late = [0.0] * WINDOW

    async def run(self) -> None:
        place = 0
        while True:
            asked = time.monotonic()
            await asyncio.sleep(TICK_SECONDS)
            self._late[place] = max(0.0, time.monotonic() - asked - TICK_SECONDS)
            place = (place + 1) % WINDOW

    @property
    def longest(self) -> float:
        return max(self._late)


class _Read(Collector):
    """What was read a moment ago, as a registry wants it."""

    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        return self._found


def make_site(
    config: CoordinatorConfig, rooms: Rooms, database: Database, clock: Clock, lag: Lag
) -> Starlette:
    """Build what answers on the metrics port: /metrics, /healthz, /readyz."""

    async def metrics(_request: Request) -> Response:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Read(await _read(config, rooms, clock, lag)))
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4")

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"alive": True})

    async def readyz(_request: Request) -> Response:
        ready = await readiness(config, database, clock)
        return JSONResponse(ready, 200 if all(ready.values()) else 503)

    return Starlette(
        routes=[
            Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz),
        ]
    )  # fmt: skip


async def readiness(config: CoordinatorConfig, database: Database, clock: Clock) -> dict[str, bool]:
    """Say what must hold for a hospital to be served; the words are a closed set."""
    try:
        async with asyncio.timeout(READ_SECONDS), database.reading() as connection:
            await connection.execute(text("SELECT 1"))
        reads = True
    except Exception:  # noqa: BLE001 - whatever it was, it is not ready
        reads = False
    free = await asyncio.to_thread(_free, config.data)
    days = await asyncio.to_thread(_days, config.keys / "server.crt", clock())
    return {"database": reads, "disk": free > ROOM, "certificate": days > 0}


async def _read(config: CoordinatorConfig, rooms: Rooms, clock: Clock, lag: Lag) -> list[Metric]:
    sites = await rooms.fleet.sites()
    active = [(site, here) for site, here in sites if site.standing is Standing.ACTIVE]
    standings = Counter(site.standing for site, _ in sites)
    stages = Counter(job.stage for job in await rooms.jobs.all())
    here = [site for site, connected in sites if connected]
    faults, _newest = await rooms.notary.known()
    free = await asyncio.to_thread(_free, config.data)
    days: dict[tuple[str, ...], float] = {
        (name,): await asyncio.to_thread(_days, config.keys / f"{name}.crt", clock())
        for name in ("server", "issuing")
    }
    return [
        _family(SITES, {(each.value,): standings[each] for each in Standing}),
        _gauge(CONNECTED, len(here)),
        _gauge(OFFLINE, sum(not connected for _site, connected in active)),
        _gauge(ENDING, sum(_is_ending(site, clock()) for site, _ in active)),
        _gauge(SKEW, max((abs(site.clock_skew_seconds) for site in here), default=0.0)),
        _gauge(FAULTS, len(faults)),
        _gauge(REFUSING, sum(_refuses(rooms, site) for site in here)),
        _family(JOBS, {(each.value,): stages[each] for each in JobStage}),
        _gauge(DISK, free),
        _family(CERTIFICATE, days),
        _gauge(MANIFEST, rooms.roll.version),
        _gauge(LAG, lag.longest),
    ]


def _is_ending(site: Site, now: float) -> bool:
    ends = site.certificate_expires_at
    return ends is not None and ends - now < RENEWS_LATE * SECONDS_A_DAY


def _refuses(rooms: Rooms, site: Site) -> bool:
    condition = rooms.fleet.condition(site.name)
    return condition is not None and not condition.accepting


def _free(data: Path) -> int:
    return shutil.disk_usage(data).free


def _days(certificate: Path, now: float) -> float:
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError):
        return 0.0
    left = found.not_valid_after_utc - datetime.fromtimestamp(now, UTC)
    return round(left.total_seconds() / SECONDS_A_DAY, 2)


def _gauge(what: Described, value: float) -> Metric:
    return GaugeMetricFamily(what.name, what.says, value=value)


def _family(what: Described, values: dict[tuple[str, ...], float]) -> Metric:
    found = GaugeMetricFamily(what.name, what.says, labels=what.labels)
    for labels, value in values.items():
        found.add_metric(labels, value)
    return found
