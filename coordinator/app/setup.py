"""Making a federation: root, intermediate, the coordinator's certificate, the first operator."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from coordinator.app.authority import LOCAL_KEY, ROOT
from coordinator.app.report_key import ReportKey
from coordinator.config import (
    CoordinatorConfig,
    Listen,
    load,
    read_private,
    replace_private,
    write_private,
)
from coordinator.errors import (
    ConfigurationFault,
    CoordinatorError,
    EnvironmentFault,
    InvalidRequest,
)
from coordinator.registry.certificates import (
    CREDENTIAL_DAYS,
    Keyed,
    issue_credential,
    issue_server,
    load_keyed,
    make_issuing,
    make_root,
    request_issuing,
)
from coordinator.registry.rules import invited_person
from protos.identity import NAME, Identity, Role
from protos.root import read_roots

LIFE_BEFORE_RENEWAL = 2 / 3
CONFIG_FILE = "coordinator.toml"

TEMPLATE = """\
# The coordinator of one federation. Paths are relative to this file; unknown keys are errors.
federation = "{federation}"   # stands in every certificate; never changes
data = "data"                 # tables, audit trail, models
keys = "keys"                 # issuing.*, server.*, roots.crt (mode 0600)

[listen]
host = "{host}"               # 0.0.0.0: every interface
port = {port}
public_address = "{address}"  # what an invitation tells a hospital to dial
names = [{names}]             # further names of this machine, for its certificate

[certificates]
gateway_days = 30             # a gateway renews long before
invitation_hours = 72         # how long a token may be used

# Tables on a PostgreSQL that a standby coordinator shares (docs/runbooks/standby-coordinator.md):
# [store]
# url = "postgresql://radfed@db.example.org/radfed?sslmode=verify-full"
# password_file = "keys/store.password"
# objects = "/srv/radfed/objects"

[link]
heartbeat_seconds = 15        # of every gateway; silent for four of them, it counts as gone

[questions]
deadline_seconds = 30         # how long `radfed query run` waits for the last hospital

[jobs]
reviews = 2                   # reviewers' signatures before hospitals see a job (and check them)
terms_days = 90               # how long the reviewers' word for a job holds
quorum = 2                    # hospitals a round needs at the least
decision_seconds = 604800     # how long hospitals may take to decide on an offer
round_seconds = 86400         # how long a round waits for its last hospital

# The federation's pages; the first start says where a link lies that makes the first account.
# Plain HTTP is for this machine alone; over TLS people may show their certificates instead:
# [console]
# host = "127.0.0.1"          # 0.0.0.0 with the two files below
# port = 8444
# certificate = "console.crt" # what browsers trust
# private_key = "console.key"

# Prometheus text on /metrics, and /healthz and /readyz; numbers that name nobody:
# [metrics]
# host = "127.0.0.1"
# port = 9465

# Keep every received message, byte for byte, for inspection:
# [record]
# directory = "record"
"""


CREDENTIAL = """\
# Who you are to the federation: keep this directory to yourself.
address = "{address}"
standbys = [{standbys}]  # where else the coordinator may be
identity = "{uri}"
"""


@dataclass(frozen=True, slots=True)
class Made:
    """What `init` made, for the operator to read."""

    config: Path
    root_key: Path | None  # a local authority's, in the clear
    request: Path | None  # what an offline authority is to sign
    credential: Path


def initialise(directory: Path, federation: str, addresses: list[str], now: datetime) -> Made:
    """Make a new federation with an authority of its own, whose key lies beside it in the clear."""
    config = _begin(directory, federation, addresses)
    root = make_root(federation, now)
    authority = directory / "root"
    write_private(authority / LOCAL_KEY, root.key_pem)
    write_private(authority / ROOT, root.certificate_pem)
    write_private(directory / "keys" / "roots.crt", root.certificate_pem)
    issuing = make_issuing(root, federation, now)
    write_private(directory / "keys" / "issuing.key", issuing.key_pem)
    write_private(directory / "keys" / "issuing.crt", issuing.certificate_pem)
    ReportKey.load(directory / "keys")  # now: whoever copies the keys for a standby needs it
    write_private(config, _settings(federation, addresses).encode())
    certify(config, now)
    return Made(config, authority / LOCAL_KEY, None, directory / "operator")


def prepare(
    directory: Path, federation: str, addresses: list[str], root_pem: bytes, now: datetime
) -> Made:
    """Make a federation under an offline authority: the key here, and a request for its root."""
    config = _begin(directory, federation, addresses)
    try:
        (root,) = read_roots(root_pem)
    except ValueError as fault:
        raise ConfigurationFault(f"this is not one root's certificate: {fault}") from fault
    if root.not_valid_after_utc < now:
        raise ConfigurationFault("this root has run out")
    keys = directory / "keys"
    key = generate_private_key(SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_private(keys / "issuing.key", pem)
    write_private(keys / "issuing.csr", request_issuing(key, federation))
    write_private(keys / "roots.crt", root_pem)
    ReportKey.load(directory / "keys")  # now: whoever copies the keys for a standby needs it
    write_private(config, _settings(federation, addresses).encode())
    return Made(config, None, keys / "issuing.csr", directory / "operator")


def certify_server(config: CoordinatorConfig, now: datetime) -> Keyed:
    """Make the coordinator's own certificate anew; return the intermediate that signed it."""
    issuing = load_issuing(config)
    server_name = Identity(config.federation, Role.COORDINATOR, "coordinator")
    host = split_address(config.listen.public_address)[0]
    hosts = [host, *config.listen.names, "localhost", "127.0.0.1"]
    server = issue_server(issuing, server_name, hosts, now)
    replace_private(config.keys / "server.key", server.key_pem)
    replace_private(config.keys / "server.crt", server.certificate_pem + issuing.certificate_pem)
    return issuing


def keep_server_current(config: CoordinatorConfig, now: datetime) -> bool:
    """Renew the coordinator's own certificate from two thirds of its life on, at each start."""
    try:
        chain = read_private(config.keys / "server.crt")
        server = x509.load_pem_x509_certificates(chain)[0]
    except (ConfigurationFault, ValueError, IndexError):
        return False  # the start itself says what is missing
    life = server.not_valid_after_utc - server.not_valid_before_utc
    if now < server.not_valid_before_utc + life * LIFE_BEFORE_RENEWAL:
        return False
    certify_server(config, now)
    return True


def certify(config_file: Path, now: datetime) -> None:
    """Make what the intermediate signs first: the coordinator's certificate and an operator's."""
    config = load(config_file)
    issuing = certify_server(config, now)
    operator = config_file.parent / "operator"
    if not operator.exists():
        _write_credential(
            operator, issuing, read_private(config.keys / "roots.crt"),
            config.listen, Identity(config.federation, Role.OPERATOR, "operator"), now,
        )  # fmt: skip


@contextmanager
def all_or_nothing(directory: Path) -> Iterator[None]:
    """Remove what an `init` that failed has made, so that it is simply run again."""
    parts = [directory / name for name in ("root", "keys", "operator")]
    new = [part for part in parts if not part.exists()]
    try:
        yield
    except CoordinatorError:
        for part in new:
            shutil.rmtree(part, ignore_errors=True)
        raise


def issue_person(
    config_file: Path, role: Role, name: str, organisation: str, into: Path, now: datetime
) -> Path:
    """Make a credential for one more person: operator, requester, reviewer, vendor, auditor."""
    try:
        invited_person(role, name, organisation)
    except InvalidRequest as fault:
        raise ConfigurationFault(str(fault)) from fault
    config = load(config_file)
    _write_credential(
        into, load_issuing(config), read_private(config.keys / "roots.crt"),
        config.listen, Identity(config.federation, role, name), now, organisation,
    )  # fmt: skip
    return into


def load_issuing(config: CoordinatorConfig) -> Keyed:
    return load_keyed(
        read_private(config.keys / "issuing.crt"), read_private(config.keys / "issuing.key")
    )


def _begin(directory: Path, federation: str, addresses: list[str]) -> Path:
    """Refuse what cannot become a federation; nothing is ever overwritten."""
    if not NAME.fullmatch(federation):
        raise ConfigurationFault(
            "a federation's name is 1-63 lower-case letters, digits and inner hyphens"
        )
    for address in addresses:
        split_address(address)
    config = directory / CONFIG_FILE
    if config.exists():
        raise EnvironmentFault(f"{config} exists already: this directory has a federation")
    return config


def _settings(federation: str, addresses: list[str]) -> str:
    hosts = [split_address(address)[0] for address in addresses]
    return TEMPLATE.format(
        federation=federation,
        host="127.0.0.1" if _is_loopback(hosts) else "0.0.0.0",  # noqa: S104 - hospitals call
        port=split_address(addresses[0])[1],
        address=addresses[0],
        names=", ".join(f'"{host}"' for host in dict.fromkeys(hosts[1:])),
    )


def split_address(address: str) -> tuple[str, int]:
    """Read HOST:PORT; an IPv6 host stands in brackets."""
    host, separator, port = address.rpartition(":")
    if not separator or not host or not port.isdecimal() or not 0 <= int(port) <= 65535:  # noqa: PLR2004 - TCP
        raise ConfigurationFault(f"`{address}` is not HOST:PORT, such as radfed.example:8443")
    return host, int(port)


def _write_credential(
    into: Path,
    issuing: Keyed,
    roots_pem: bytes,
    listen: Listen,
    identity: Identity,
    now: datetime,
    organisation: str = "",
) -> None:
    made = issue_credential(issuing, identity, now, timedelta(days=CREDENTIAL_DAYS), organisation)
    chain = made.certificate_pem + issuing.certificate.public_bytes(Encoding.PEM)
    write_private(into / "credential.key", made.key_pem)
    write_private(into / "credential.crt", chain)
    write_private(into / "roots.crt", roots_pem)
    standbys = ", ".join(f'"{address}"' for address in listen.standbys)
    text = CREDENTIAL.format(address=listen.public_address, standbys=standbys, uri=identity.uri)
    write_private(into / "credential.toml", text.encode())


def _is_loopback(hosts: list[str]) -> bool:
    return all(host in {"localhost", "127.0.0.1", "[::1]"} for host in hosts)
