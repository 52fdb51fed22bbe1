"""Settings: one frozen tree read from TOML, unknown keys refused with their path."""

import tomllib
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from gateway.errors import ConfigurationFault

# PS3.5 6.2, VR AE: at most 16 characters of the default repertoire, no backslash, no control
# characters, spaces inside only.
AETitle = Annotated[str, StringConstraints(pattern=r"^[!-\[\]-~](?:[ -\[\]-~]{0,14}[!-\[\]-~])?$")]
SiteName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")]
Address = Annotated[
    str, StringConstraints(pattern=r"^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):\d{1,5}$")
]
Port = Annotated[int, Field(ge=0, le=65535)]  # 0: any free port (demo and tests)
# SHA-256 of a certificate's DER form, as `openssl x509 -fingerprint -sha256` prints it.
Fingerprint = Annotated[
    str,
    BeforeValidator(lambda told: told.replace(":", "").lower() if isinstance(told, str) else told),
    StringConstraints(pattern=r"^[0-9a-f]{64}$"),
]
Network = IPv4Network | IPv6Network
Uid = Annotated[str, StringConstraints(pattern=r"^[0-9.]{1,64}$")]  # PS3.5 9.1


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class IntakeTls(Settings):
    """DICOM over TLS 1.2 or 1.3 on a port of its own (PS3.15 B.9, BCP 195)."""

    port: Port = 2762
    certificate: Path
    private_key: Path
    client_ca: Path | None = None  # set: a client certificate is demanded
    # Of every caller, or only of peers that have `certificate_sha256`.
    client_certificates: Literal["required", "optional"] = "required"


class Peer(Settings):
    """One DICOM application entity of the hospital."""

    name: SiteName
    ae_title: AETitle
    host: str | None = None  # needed for echo and fetch
    port: Port | None = None
    tls: bool = False
    tls_ca: Path | None = None
    addresses: tuple[Network, ...] = ()  # where it may call from; empty: anywhere
    may_store: bool = True
    # It may ask for a receipt of what it sent (PS3.4 annex J): of a de-identified copy.
    commitment: bool = False
    certificate_sha256: tuple[Fingerprint, ...] = ()  # it must show one of these certificates

    @model_validator(mode="after")
    def _can_be_reported_to(self) -> Self:
        if self.commitment and (self.host is None or not self.port):
            raise ValueError("`commitment` needs `host` and `port`: reports are sent there")
        return self


class Intake(Settings):
    ae_title: AETitle = "RADFED"
    host: str = "0.0.0.0"  # noqa: S104 - a modality calls from another machine
    port: Port | None = 11112  # absent: DICOM over TLS only
    tls: IntakeTls | None = None
    peers: tuple[Peer, ...] = ()  # nobody may call until the site names somebody
    processes: Annotated[int, Field(ge=1, le=64)] = 2
    max_associations: Annotated[int, Field(ge=1)] = 256
    max_associations_per_peer: Annotated[int, Field(ge=1)] = 32
    max_pdu_bytes: Annotated[int, Field(ge=4096, le=16 << 20)] = 1 << 20
    first_pdu_seconds: Annotated[float, Field(gt=0)] = 5.0
    idle_seconds: Annotated[float, Field(gt=0)] = 900.0  # a modality may pause ten minutes
    header_limit_bytes: Annotated[int, Field(ge=65536)] = (
        8 << 20
    )  # a longer header goes to the vault
    # What all associations of one process may hold of headers; past it the vault takes them.
    header_memory_bytes: Annotated[int, Field(ge=65536)] = 6 << 20
    private_sop_classes: tuple[Uid, ...] = ()  # taken beside those of the standard
    private_transfer_syntaxes: tuple[Uid, ...] = ()
    stop_grace_seconds: Annotated[float, Field(ge=0)] = 10.0  # a running C-STORE may finish

    @model_validator(mode="before")
    @classmethod
    def _tls_alone(cls, told: Any) -> Any:  # noqa: ANN401 - whatever the file says
        """Open no plain port where TLS stands alone: TOML has no word for none."""
        if isinstance(told, dict) and told.get("tls") is not None and "port" not in told:
            return told | {"port": None}
        return told

    @model_validator(mode="after")
    def _pins_can_be_met(self) -> Self:
        """Ask for no certificate that TLS could not verify."""
        pinned = [peer.name for peer in self.peers if peer.certificate_sha256]
        if pinned and (self.tls is None or self.tls.client_ca is None):
            raise ValueError(
                f"`certificate_sha256` of `{pinned[0]}` needs `client_ca` under [intake.tls]: "
                "the authority that signed it, or the certificate itself if it is self-signed"
            )
        return self


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


class Federation(Settings):
    # Where else the coordinator may be, beside the address of the invitation.
    standbys: tuple[Address, ...] = ()
    # Until the coordinator says how often; no file needs it.
    heartbeat_seconds: Annotated[float, Field(gt=0)] = 15.0
    reconnect_seconds_at_most: Annotated[float, Field(gt=0)] = 8.0  # a fleet is back in ten
    clock_skew_seconds_at_most: Annotated[float, Field(gt=0)] = 120.0
    proxy: str | None = None  # http://HOST:PORT; absent: https_proxy, where it is set


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


class Certified(Settings):
    """A person who comes in by a client certificate instead of a password and a code."""

    name: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]{1,64}$")]
    role: Literal["steward", "reader"] = "reader"
    certificate_sha256: Fingerprint


class Console(Settings):
    """The hospital's pages: over TLS for its network, in the clear on this machine alone."""

    host: str = "127.0.0.1"
    port: Port = 8420  # not Orthanc's 8042
    certificate: Path | None = None  # PEM; set with `private_key`: HTTPS
    private_key: Path | None = None
    client_ca: Path | None = None  # who signs the certificates of `certified`
    certified: tuple[Certified, ...] = ()
    two_person: bool = False  # a job is approved when two stewards did

    @property
    def over_tls(self) -> bool:
        return self.certificate is not None

    @model_validator(mode="after")
    def _has_both_halves(self) -> Self:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("`certificate` and `private_key` go together")
        if self.certified and (self.client_ca is None or self.certificate is None):
            raise ValueError("`certified` needs `client_ca`, `certificate` and `private_key`")
        return self

    @model_validator(mode="after")
    def _stays_on_this_machine(self) -> Self:
        """Send no session over a network in the clear."""
        if self.host == "localhost" or self.over_tls:
            return self
        try:
            loopback = ip_address(self.host).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise ValueError(
                f"`host` {self.host} is not this machine alone, and the pages are plain HTTP: "
                "set `certificate` and `private_key`, or leave 127.0.0.1"
            )
        return self


class Jobs(Settings):
    wall_seconds: Annotated[float, Field(gt=0)] = 3600.0
    memory_bytes: Annotated[int, Field(ge=64 << 20)] = 4 << 30
    processes: Annotated[int, Field(ge=1)] = 64
    output_bytes: Annotated[int, Field(ge=1024)] = 1 << 30
    # What jobs may run in beside this gateway's own interpreter: a directory of packages for each.
    runtimes: dict[SiteName, Path] = {}


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
    intake = config.intake
    tls = intake.tls
    if tls is not None:
        moved = {
            name: base / value
            for name in ("certificate", "private_key", "client_ca")
            if (value := getattr(tls, name))
        }
        intake = intake.model_copy(update={"tls": tls.model_copy(update=moved)})
    peers = tuple(
        p.model_copy(update={"tls_ca": base / p.tls_ca}) if p.tls_ca else p for p in intake.peers
    )
    intake = intake.model_copy(update={"peers": peers})
    deid = config.deid
    files = {
        name: base / value
        for name in ("table", "safe_private_table")
        if (value := getattr(deid, name))
    }
    if deid.profile.endswith(".toml"):
        files |= {"profile": str(base / deid.profile)}
    deid = deid.model_copy(update=files)
    audit = config.audit
    if (syslog := audit.syslog) is not None:
        moved = {
            name: base / value
            for name in ("ca", "certificate", "private_key")
            if (value := getattr(syslog, name))
        }
        audit = audit.model_copy(update={"syslog": syslog.model_copy(update=moved)})
    moved_too: dict[str, object] = {
        "data": base / config.data,
        "intake": intake,
        "deid": deid,
        "audit": audit,
    }
    if (console := config.console) is not None:
        held = {
            name: base / value
            for name in ("certificate", "private_key", "client_ca")
            if (value := getattr(console, name))
        }
        moved_too["console"] = console.model_copy(update=held)
    return config.model_copy(update=moved_too)
