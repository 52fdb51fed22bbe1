"""Numbers for the hospital's own monitoring, as Prometheus text: off unless `[metrics]` is set.

Labels are closed sets of words: nothing here names a patient, a study, a peer or a person. Counts
of patients are not among them, for a series of exact counts over time would tell of each arrival.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from cryptography import x509
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.app.build import build_secret, build_store, build_vault
from gateway.app.health import make_site
from gateway.app.outbound import build_privacy
from gateway.app.process import is_running, read_state
from gateway.app.reporting import waiting
from gateway.app.status import waiting_since
from gateway.cohort.privacy import NANO
from gateway.config import GatewayConfig
from gateway.durable import free_bytes
from gateway.errors import EnvironmentFault
from gateway.link.credentials import Credentials
from gateway.link.status import LinkState, read_status
from gateway.notary import faults, kept_so_far, open_book
from gateway.release.ledger import Ledger

# What a receiver counts, by the outcome it is shown as.
OUTCOMES: Mapping[str, str] = {
    "stored": "instance_stored",
    "duplicate": "instance_duplicate",
    "quarantined": "instance_quarantined",
    "refused": "instance_refused",
}
ASSOCIATIONS: Mapping[str, str] = {
    "accepted": "association_accepted",
    "rejected": "association_rejected",
    "aborted": "association_aborted",
}
SECONDS_A_DAY = 86_400
SILENT_SECONDS = 10.0  # a caller that says nothing is sent away


@dataclass(frozen=True, slots=True)
class Described:
    """One metric as it is documented."""

    name: str
    says: str
    labels: tuple[str, ...] = ()


RECEIVED = Described(
    "radfed_instances_received",
    "Instances answered by a receiver since it started, by outcome.",
    ("worker", "outcome"),
)
CALLS = Described(
    "radfed_associations",
    "Associations since a receiver started, by outcome.",
    ("worker", "outcome"),
)
CUSTODY_FAILURES = Described(
    "radfed_custody_failures",
    "Instances that custody failed to take since a receiver started.",
    ("worker",),
)
BACKLOG = Described("radfed_arrivals_waiting", "Stored instances that are not in the index yet.")
VAULT = Described(
    "radfed_vault_entries", "Sealed instances, waiting for the line or an operator.", ("place",)
)
DISK_FREE = Described("radfed_disk_free_bytes", "Free bytes where the data directory is.")
DISK_RESERVE = Described(
    "radfed_disk_reserve_bytes", "Below this, instances are refused with 0xA700."
)
LINK = Described(
    "radfed_link_state", "1 for the state the link to the coordinator is in.", ("state",)
)
CERTIFICATE = Described(
    "radfed_certificate_days",
    "Days until a certificate expires; negative when it has.",
    ("certificate",),
)
SKEW = Described("radfed_link_clock_skew_seconds", "This machine's clock less the coordinator's.")
LEDGER = Described("radfed_ledger_entries", "Send attempts by the link since the gateway was made.")
EXCHANGED = Described(
    "radfed_checkpoint_age_seconds",
    "Seconds since the coordinator's newest checkpoint; -1 before the first.",
)
FAULTS = Described("radfed_chain_faults", "Faults found when checkpoints were exchanged.")
SPENT = Described("radfed_privacy_rho_spent", "Privacy budget spent this year, in rho.")
WAITS = Described(
    "radfed_privacy_unreconciled", "1 while a restored ledger waits to be reconciled."
)
SYSLOG = Described(
    "radfed_audit_syslog_waiting", "Entries of the trail that the repository has not taken yet."
)
UP = Described("radfed_gateway_running", "1 while the gateway runs.")
ALL = (
    RECEIVED, CALLS, CUSTODY_FAILURES, BACKLOG, VAULT, DISK_FREE, DISK_RESERVE, LINK, CERTIFICATE,
    SKEW, LEDGER, EXCHANGED, FAULTS, SPENT, WAITS, SYSLOG, UP,
)  # fmt: skip


class Gauges(Collector):
    """Reads the gateway's state files whenever it is asked."""

    def __init__(self, config: GatewayConfig, now: Callable[[], datetime]) -> None:
        self._config = config
        self._now = now
        secret = build_secret(config)
        self._store = build_store(config, secret)
        self._vault = build_vault(config, secret)

    def collect(self) -> Iterable[Metric]:
        yield from self._receivers()
        config = self._config
        yield gauge(BACKLOG, len(self._store.arrived(at_most=-1)))
        yield family(VAULT, {(place,): n for place, n in self._vault.counts().items()})
        yield gauge(DISK_FREE, free_bytes(config.data))
        yield gauge(DISK_RESERVE, config.disk.reserve_bytes)
        yield self._link()
        yield family(CERTIFICATE, {(name,): days for name, days in self._certificates()})
        yield from self._chains()
        yield gauge(UP, int(is_running(config.run_dir / "lock")))

    def _receivers(self) -> Iterable[Metric]:
        """Count each receiver apart: one that starts again begins at 0, as counters may."""
        received = CounterMetricFamily(RECEIVED.name, RECEIVED.says, labels=RECEIVED.labels)
        calls = CounterMetricFamily(CALLS.name, CALLS.says, labels=CALLS.labels)
        failures = CounterMetricFamily(
            CUSTODY_FAILURES.name, CUSTODY_FAILURES.says, labels=CUSTODY_FAILURES.labels
        )
        for number in range(self._config.intake.processes):
            counted = read_state(self._config.run_dir / f"intake-{number}.json")
            worker = str(number)
            for outcome, event in OUTCOMES.items():
                received.add_metric([worker, outcome], counted.get(event, 0))
            for outcome, event in ASSOCIATIONS.items():
                calls.add_metric([worker, outcome], counted.get(event, 0))
            failures.add_metric([worker], counted.get("custody_failed", 0))
        yield from (received, calls, failures)

    def _link(self) -> Metric:
        found = read_status(self._config.run_dir / "link.json")
        state = LinkState.STOPPED if found is None else found.state
        return family(LINK, {(each.value,): int(each is state) for each in LinkState})

    def _chains(self) -> Iterable[Metric]:
        config = self._config
        found = read_status(config.run_dir / "link.json")
        yield gauge(SKEW, found.clock_skew_seconds if found else 0.0)
        with closing(Ledger.open(config.ledger_file)) as ledger:
            yield gauge(LEDGER, ledger.head()[0])
        with closing(open_book(config.checkpoints_file)) as book:
            kept, faulty = kept_so_far(book), faults(book)
        age = self._now().timestamp() - kept[-1].at.ToSeconds() if kept else -1
        yield gauge(EXCHANGED, age)
        yield gauge(FAULTS, len(faulty))
        with closing(build_privacy(config)) as privacy:
            yield gauge(SPENT, privacy.spent_nano(privacy.year) / NANO)
        yield gauge(WAITS, int(waiting_since(config) is not None))
        yield gauge(SYSLOG, waiting(config))

    def _certificates(self) -> Iterable[tuple[str, float]]:
        credentials = Credentials.load(self._config.keys_dir)
        if credentials is not None:
            yield "federation", self._days_to(credentials.not_after)
        tls = self._config.intake.tls
        if tls is not None and (expires := _expiry(tls.certificate)) is not None:
            yield "dicom", self._days_to(expires)

    def _days_to(self, moment: datetime) -> float:
        return round((moment - self._now()).total_seconds() / SECONDS_A_DAY, 2)


def gauge(what: Described, value: float) -> Metric:
    return GaugeMetricFamily(what.name, what.says, value=value)


def family(what: Described, values: Mapping[tuple[str, ...], float]) -> Metric:
    found = GaugeMetricFamily(what.name, what.says, labels=what.labels)
    for labels, value in values.items():
        found.add_metric(labels, value)
    return found


def start_metrics(config: GatewayConfig, stop: threading.Event) -> str | None:
    """Serve `/metrics` and health until `stop`; return the address, or None without `[metrics]`."""
    settings = config.metrics
    if settings is None:
        return None
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Gauges(config, lambda: datetime.now(UTC)))
    try:
        server = make_server(
            settings.host, settings.port, make_site(registry, config), _Server, _Silent
        )
    except OSError as fault:
        raise EnvironmentFault(
            f"[metrics] {settings.host}:{settings.port} cannot be opened: {fault.strerror}"
        ) from fault

    def end() -> None:
        stop.wait()
        server.shutdown()
        server.server_close()

    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    threading.Thread(target=end, name="metrics-end", daemon=True).start()
    return f"http://{settings.host}:{server.server_port}/metrics"


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    timeout = SILENT_SECONDS

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Log no request: a path is whatever a stranger typed."""


def _expiry(certificate: Path) -> datetime | None:
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return None
