"""Settings: one frozen tree read from TOML, unknown keys refused with their path."""

import tomllib
from pathlib import Path
from typing import Annotated, Self, TypeVar

from pydantic import Field, StringConstraints, ValidationError, model_validator

from gateway.config.console import Certified, Console
from gateway.config.intake import Intake, IntakeTls, Peer
from gateway.config.terms import Address, AETitle, Port, Settings, SiteName
from gateway.errors import ConfigurationFault

__all__ = [
    "AETitle", "Address", "Audit", "AuditSyslog", "Certified", "Console", "Deid", "Disk",
    "FaceLimits", "Federation", "GatewayConfig", "Intake", "IntakeTls", "Jobs",
    "Metrics", "Peer", "PixelLimits", "Port", "Settings", "SiteName", "Vault", "explain",
    "load", "parse",
]  # fmt: skip

S = TypeVar("S", bound=Settings)


class PixelLimits(Settings):
    """What a look at one instance's pixels may take; more, and it waits in quarantine."""

    seconds_at_most: Annotated[float, Field(gt=0)] = 180.0  # of one processor
    memory_bytes: Annotated[int, Field(ge=1 << 30)] = 4 << 30
    decoded_bytes_at_most: Annotated[int, Field(ge=1 << 20)] = 1 << 30


class FaceLimits(Settings):
    """How long a series of a head waits, where the profile removes faces from whole series."""

    quiet_seconds: Annotated[float, Field(ge=0)] = 60.0  # since its last slice came
    wait_seconds_at_most: Annotated[float, Field(gt=0)] = 3600.0  # since its first


class Deid(Settings):
    profile: str = "research-strict"  # a shipped profile's name, or a TOML file
    # Tables of another edition of PS3.15, as `radfed gateway deid import-table` made them.
    table: Path | None = None  # E.1-1; absent: the one shipped
    safe_private_table: Path | None = None  # E.3.10-1; needed by `retain_safe_private`
    pixels: PixelLimits = PixelLimits()
    faces: FaceLimits = FaceLimits()


Hours = Annotated[
    str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$")
]


class Federation(Settings):
    # Where else the coordinator may be, beside the address of the invitation.
    standbys: tuple[Address, ...] = ()
    # Until the coordinator says how often; no file needs it.
    heartbeat_seconds: Annotated[float, Field(gt=0)] = 15.0
    reconnect_seconds_at_most: Annotated[float, Field(gt=0)] = 8.0  # a fleet is back in ten
    clock_skew_seconds_at_most: Annotated[float, Field(gt=0)] = 120.0
    proxy: str | None = None  # http://HOST:PORT; absent: https_proxy, where it is set
    bulk_bytes_per_second: Annotated[int, Field(ge=0)] = 0  # of models and updates; 0: no limit
    bulk_hours: Hours | None = None  # when they move, by this machine's clock; absent: always


class Disk(Settings):
    reserve_bytes: Annotated[int, Field(ge=0)] = 2 << 30  # C-STORE is answered 0xA700 below this


class Vault(Settings):
    keep_days: Annotated[int, Field(ge=0)] = 90  # then quarantine is erased; 0: kept for ever
    # What the vault takes is read whole; a longer dataset waits in quarantine.
    whole_bytes_at_most: Annotated[int, Field(ge=1 << 20)] = 1 << 30


class Metrics(Settings):
    """Counters for the hospital's own monitoring: off unless the site opens this port."""

    host: str = "127.0.0.1"
    port: Port = 9464


class AuditSyslog(Settings):
    """The repository that DICOM audit messages go to (PS3.15 A.5), over TLS (RFC 5425)."""

    host: str
    port: Port = 6514  # RFC 5425 4.1
    ca: Path  # whose certificate the repository must show
    certificate: Path | None = None  # this gateway's own, where the repository demands one
    private_key: Path | None = None
    server_name: str | None = None  # where its certificate names another than `host`
    backlog_at_most: Annotated[int, Field(ge=100)] = 100_000  # entries that wait; past it they skip

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("`certificate` and `private_key` go together")
        return self


class Audit(Settings):
    syslog: AuditSyslog | None = None  # off by default: an exit


class Jobs(Settings):
    wall_seconds: Annotated[float, Field(gt=0)] = 3600.0
    memory_bytes: Annotated[int, Field(ge=64 << 20)] = 4 << 30
    processes: Annotated[int, Field(ge=1)] = 64
    output_bytes: Annotated[int, Field(ge=1024)] = 1 << 30
    # What jobs may run in beside this gateway's own interpreter: a directory of packages for each.
    runtimes: dict[SiteName, Path] = Field(default_factory=dict)


class GatewayConfig(Settings):
    """The whole of `gateway.toml`."""

    site: SiteName
    data: Path  # state: keys, arrivals, vault, store, index, ledgers
    run_as: str | None = None  # the user to become when started by root
    intake: Intake = Intake()
    deid: Deid = Deid()
    disk: Disk = Disk()
    vault: Vault = Vault()
    federation: Federation = Federation()
    console: Console | None = Console()
    metrics: Metrics | None = None
    audit: Audit = Audit()
    jobs: Jobs = Jobs()

    # Where things lie below `data`.
    @property
    def keys_dir(self) -> Path:
        return self.data / "keys"

    @property
    def site_secret(self) -> Path:
        return self.keys_dir / "site.secret"

    @property
    def store_dir(self) -> Path:
        """Holds `arrivals/` and the studies."""
        return self.data / "store"

    @property
    def used_versions_file(self) -> Path:
        """Which versions of the keys the store was made with: it is restored with the store."""
        return self.store_dir / ".key-versions.json"

    @property
    def vault_dir(self) -> Path:
        return self.data / "vault"

    @property
    def commitments_file(self) -> Path:
        """Receipts that peers asked for, until they have them."""
        return self.data / "commitment" / "requests.db"

    @property
    def takers_lock(self) -> Path:
        """Shared by commands that take instances in under the keys they found at their start."""
        return self.run_dir / "takers.lock"

    @property
    def places_dir(self) -> Path:
        """Where receivers count associations together."""
        return self.run_dir / "places"

    @property
    def index_file(self) -> Path:
        return self.data / "index.db"

    @property
    def patients_file(self) -> Path:
        """Who counts as one person and who has withdrawn, by pseudonym."""
        return self.data / "patients.db"

    @property
    def exact_file(self) -> Path:
        """The quarter's snapshot for exact tables, and the tables that were given of it."""
        return self.data / "exact.db"

    @property
    def ledger_file(self) -> Path:
        return self.data / "ledger.db"

    @property
    def bits_file(self) -> Path:
        """What each vendor's jobs can have carried out, for ever."""
        return self.data / "bits.db"

    @property
    def audit_file(self) -> Path:
        return self.data / "audit.db"

    @property
    def privacy_file(self) -> Path:
        return self.data / "privacy.db"

    @property
    def checkpoints_file(self) -> Path:
        """What this house signed of its chains, and what it keeps of the coordinator's."""
        return self.data / "checkpoints.db"

    @property
    def desk_dir(self) -> Path:
        """Questions, offers, tasks and workspaces."""
        return self.data / "desk"

    @property
    def sums_file(self) -> Path:
        """Secure sums under way: in no backup."""
        return self.data / "sums" / "sums.db"

    @property
    def profiles_dir(self) -> Path:
        """Every profile under which something was stored, by its digest."""
        return self.data / "profiles"

    @property
    def run_dir(self) -> Path:
        """What a running gateway says of itself: lock, ports, counters, link."""
        return self.data / "run"

    @property
    def console_link_file(self) -> Path:
        """The one-time link to the steward's pages, while it can be opened."""
        return self.run_dir / "console-link"

    @property
    def console_file(self) -> Path:
        """Who may use the console, for the gateway's account alone."""
        return self.data / "console.db"

    @property
    def roots_file(self) -> Path:
        """The federation's roots this hospital has pinned."""
        return self.keys_dir / "roots.crt"

    @property
    def manifest_file(self) -> Path:
        """Whose signatures count, as a pinned root signed it."""
        return self.data / "manifest.json"

    @property
    def policy_file(self) -> Path:
        return self.data / "policy.toml"


def load(path: Path) -> GatewayConfig:
    """Read and check `gateway.toml`; relative paths in it are relative to the file."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as fault:
        raise ConfigurationFault(
            f"{path} is missing: make one with `radfed gateway init`"
        ) from fault
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigurationFault(f"{path} cannot be read: {fault}") from fault
    return parse(text, path)


def parse(text: str, path: Path) -> GatewayConfig:
    """Check settings that stand, or shall stand, at `path`."""
    try:
        return _anchored(GatewayConfig.model_validate(tomllib.loads(text)), path.resolve().parent)
    except tomllib.TOMLDecodeError as fault:
        raise ConfigurationFault(f"{path} is not TOML: {fault}") from fault
    except ValidationError as fault:
        raise ConfigurationFault(f"{path}: {explain(fault)}") from fault


def explain(fault: ValidationError) -> str:
    """Say in one line which keys are wrong and why."""
    return "; ".join(
        f"`{'.'.join(map(str, error['loc'])) or 'file'}`: "
        + ("unknown key" if error["type"] == "extra_forbidden" else error["msg"])
        for error in fault.errors()
    )


def _anchored(config: GatewayConfig, base: Path) -> GatewayConfig:
    """Resolve relative paths against the directory of the file they stand in."""

    def moved(settings: S, *names: str) -> S:
        told = {name: getattr(settings, name) for name in names}
        return settings.model_copy(update={n: base / path for n, path in told.items() if path})

    intake, deid, audit, console = config.intake, config.deid, config.audit, config.console
    intake = intake.model_copy(update={"peers": tuple(moved(p, "tls_ca") for p in intake.peers)})
    if intake.tls is not None:
        tls = moved(intake.tls, "certificate", "private_key", "client_ca")
        intake = intake.model_copy(update={"tls": tls})
    deid = moved(deid, "table", "safe_private_table")
    if deid.profile.endswith(".toml"):
        deid = deid.model_copy(update={"profile": str(base / deid.profile)})
    if audit.syslog is not None:
        syslog = moved(audit.syslog, "ca", "certificate", "private_key")
        audit = audit.model_copy(update={"syslog": syslog})
    if console is not None:
        console = moved(console, "certificate", "private_key", "client_ca")
    runtimes = {name: base / path for name, path in config.jobs.runtimes.items()}
    jobs = config.jobs.model_copy(update={"runtimes": runtimes})
    rooms = {"intake": intake, "deid": deid, "audit": audit, "console": console, "jobs": jobs}
    return moved(config, "data").model_copy(update=rooms)
