"""Settings: one frozen tree read from TOML, unknown keys refused with their path."""

import os
import stat
import tomllib
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from coordinator.errors import ConfigurationFault, EnvironmentFault

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")]
Address = Annotated[
    str, StringConstraints(pattern=r"^(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):\d{1,5}$")
]
Port = Annotated[int, Field(ge=0, le=65535)]  # 0: any free port (tests)
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Listen(Settings):
    """The one port: gateways, operators and vendors, all behind mutual TLS."""

    host: str = "0.0.0.0"  # noqa: S104 - hospitals call from elsewhere
    port: Port = 8443
    public_address: Address  # what an invitation token tells a hospital to dial
    names: tuple[str, ...] = ()  # further names of this machine, for its certificate
    standbys: tuple[Address, ...] = ()  # the other coordinators on the same tables


class Store(Settings):
    """Where the tables are: in `data` (SQLite), or on a PostgreSQL that a standby shares."""

    url: Annotated[str, StringConstraints(pattern=r"^postgres(?:ql)?://[^\s]*$")] | None = None
    password_file: Path | None = None  # mode 0600; absent: PGPASSWORD or ~/.pgpass
    objects: Path | None = None  # bundles, models and updates; absent: below `data`

    @model_validator(mode="after")
    def _keeps_no_secret(self) -> Self:
        """Keep the password out of a file that people copy and commit."""
        if self.url is not None and urlsplit(self.url).password is not None:
            raise ValueError("`url` must not hold a password: name a `password_file` instead")
        if self.url is None and self.password_file is not None:
            raise ValueError("`password_file` needs `url`")
        return self


class Certificates(Settings):
    gateway_days: Annotated[float, Field(gt=0, le=397)] = 30.0
    invitation_hours: Annotated[int, Field(ge=1, le=720)] = 72


class Link(Settings):
    heartbeat_seconds: Annotated[int, Field(ge=1, le=3600)] = 15


class Questions(Settings):
    deadline_seconds: Annotated[int, Field(ge=1, le=86400)] = 30


class Jobs(Settings):
    bundle_bytes: Annotated[int, Field(ge=1024)] = 256 << 20
    object_bytes: Annotated[int, Field(ge=1024)] = 4 << 30  # one model, one update
    reviews: Annotated[int, Field(ge=0, le=10)] = 2  # signatures before a hospital sees a job
    terms_days: Annotated[float, Field(gt=0, le=366)] = 90.0  # how long reviewers' word holds
    quorum: Annotated[int, Field(ge=1)] = 2  # hospitals a round needs, where the job asks no more
    decision_seconds: Annotated[float, Field(gt=0)] = 7 * 86400.0
    round_seconds: Annotated[float, Field(gt=0)] = 86400.0


class Console(Settings):
    """The federation's pages: over TLS for a network, in the clear on this machine alone."""

    host: str = "127.0.0.1"
    port: Port = 8444
    certificate: Path | None = None  # PEM; set with `private_key`: HTTPS
    private_key: Path | None = None

    @property
    def over_tls(self) -> bool:
        return self.certificate is not None

    @model_validator(mode="after")
    def _has_both_halves(self) -> Self:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("`certificate` and `private_key` go together")
        return self

    @model_validator(mode="after")
    def _stays_on_this_machine(self) -> Self:
        """Send no session over a network in the clear."""
        if not self.over_tls and self.host not in LOOPBACK:
            raise ValueError(
                f"`host` {self.host} is not this machine alone, and the pages are plain HTTP: "
                "set `certificate` and `private_key`, or leave 127.0.0.1"
            )
        return self


class Metrics(Settings):
    """Numbers for the federation's own monitoring: off unless this port is opened."""

    host: str = "127.0.0.1"
    port: Port = 9465


class Record(Settings):
    """Keep every received message, as it came, before it is decoded."""

    directory: Path


class CoordinatorConfig(Settings):
    """The whole of `coordinator.toml`."""

    federation: Name
    data: Path  # tables, audit trail, large objects
    keys: Path  # issuing.*, server.*, roots.crt
    listen: Listen
    store: Store = Store()
    certificates: Certificates = Certificates()
    link: Link = Link()
    questions: Questions = Questions()
    jobs: Jobs = Jobs()
    console: Console | None = None
    metrics: Metrics | None = None
    record: Record | None = None

    # Where things lie below `data`.
    @property
    def database_file(self) -> Path:
        return self.data / "coordinator.db"

    @property
    def audit_file(self) -> Path:
        return self.data / "audit.db"

    @property
    def objects_dir(self) -> Path:
        return self.store.objects or self.data / "objects"

    @property
    def console_file(self) -> Path:
        """Who may use the pages: of this machine alone, also where a standby shares the tables."""
        return self.data / "console.db"

    @property
    def console_link_file(self) -> Path:
        return self.data / "console.link"

    @property
    def manifest_file(self) -> Path:
        """Whose signatures count, as the federation's authority signed it."""
        return self.keys / "manifest.json"

    @property
    def lock_file(self) -> Path:
        return self.data / "coordinator.lock"


def load(path: Path) -> CoordinatorConfig:
    """Read and check `coordinator.toml`; relative paths in it are relative to the file."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as fault:
        raise ConfigurationFault(
            f"{path} is missing: make one with `radfed coordinator init`"
        ) from fault
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigurationFault(f"{path} cannot be read: {fault}") from fault
    try:
        found = CoordinatorConfig.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as fault:
        raise ConfigurationFault(f"{path} is not TOML: {fault}") from fault
    except ValidationError as fault:
        raise ConfigurationFault(f"{path}: {explain(fault)}") from fault
    return _anchored(found, path.resolve().parent)


def explain(fault: ValidationError) -> str:
    """Say in one line which keys are wrong and why."""
    return "; ".join(
        f"`{'.'.join(map(str, error['loc'])) or 'file'}`: "
        + ("unknown key" if error["type"] == "extra_forbidden" else error["msg"])
        for error in fault.errors()
    )


def read_private(path: Path) -> bytes:
    """Read a key file; refuse one that others could read too."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError as fault:
        raise ConfigurationFault(
            f"{path} is missing: restore it, or run `radfed coordinator init`"
        ) from fault
    except OSError as fault:
        raise EnvironmentFault(f"{path} cannot be read: {fault.strerror}") from fault
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ConfigurationFault(f"{path} is a directory: name the file in it")
    with os.fdopen(descriptor, "rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise ConfigurationFault(f"{path} can be read by others: run `chmod 600 {path}`")
        return file.read()


def write_private(path: Path, content: bytes) -> None:
    """Create a file of mode 0600, durably; EnvironmentFault where there is one already."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as fault:
        raise EnvironmentFault(f"{path} exists already and is never overwritten") from fault
    except OSError as fault:
        raise EnvironmentFault(f"{path} cannot be written: {fault.strerror}") from fault
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as fault:
        path.unlink(missing_ok=True)  # half a file would be in the way of the next attempt
        raise EnvironmentFault(
            f"{path} cannot be written: {fault.strerror}; free space and run this again"
        ) from fault


def replace_private(path: Path, content: bytes) -> None:
    """Replace a file of mode 0600 in one step: after a power cut it is the old one or the new."""
    passing = path.with_name(f".{path.name}.{os.getpid()}")
    passing.unlink(missing_ok=True)
    write_private(passing, content)
    passing.replace(path)


def _anchored(config: CoordinatorConfig, base: Path) -> CoordinatorConfig:
    """Resolve relative paths against the directory of the file they stand in."""
    moved: dict[str, object] = {"data": base / config.data, "keys": base / config.keys}
    files = {"password_file": config.store.password_file, "objects": config.store.objects}
    there = {name: base / path for name, path in files.items() if path is not None}
    moved["store"] = config.store.model_copy(update=there)
    if config.console is not None:
        halves = {
            "certificate": config.console.certificate,
            "private_key": config.console.private_key,
        }
        there = {name: base / path for name, path in halves.items() if path is not None}
        moved["console"] = config.console.model_copy(update=there)
    if config.record is not None:
        moved["record"] = Record(directory=base / config.record.directory)
    return config.model_copy(update=moved)
