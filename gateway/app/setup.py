"""Make a new gateway: its settings, its policy, its site secret and the secret's escrow."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from gateway.config import GatewayConfig, parse
from gateway.errors import ConfigurationFault, EnvironmentFault, IntegrityFault
from gateway.keys import SiteSecret, new_recovery_code, read_private, write_private
from gateway.policy import DEFAULT_POLICY_TOML

GATEWAY_TOML = """\
# radfed gateway: settings of one hospital. `radfed gateway preflight` checks them.
# Paths are relative to this file. Unknown keys are refused.

site = {site}            # the name the federation invited this hospital under
data = {data}            # keys, studies, index, vault and ledgers: back it up

[intake]                 # the DICOM door
ae_title = {ae_title}
host = {host}
{port}
processes = 2            # receivers on one port
max_associations = 256
first_pdu_seconds = 5.0  # a caller that says nothing is sent away
idle_seconds = 900.0     # a modality may pause ten minutes
header_memory_bytes = 6291456  # headers in memory, in each process; past it the vault takes over
{tls}
# Who may call. Nobody who is not named here is let in.
{peers}
[deid]
profile = "research-strict"  # or research-longitudinal, device-qa, or a TOML file of your own
# table = "deid-tables/e1-1-2025c.csv"  # a newer PS3.15, as `deid import-table` makes it
# safe_private_table = "deid-tables/safe-private-2025c.csv"  # for retain_safe_private

[disk]
reserve_bytes = {reserve}  # below this the PACS is told "out of resources" and keeps its copy

[vault]
keep_days = 90           # quarantine nobody decided about is then erased; 0 keeps it for ever

[federation]
# standbys = ["standby.example.org:8443"]  # where else the coordinator may be
reconnect_seconds_at_most = 60.0  # the longest wait between two attempts

[console]                # the hospital's pages: plain HTTP, so on this machine only
host = "127.0.0.1"
port = {console_port}
# host = "10.0.0.9"      # for the hospital's network, over TLS alone:
# certificate = "console.crt"
# private_key = "console.key"
# two_person = true      # a job is approved when two stewards did

# [metrics]              # Prometheus text on /metrics: numbers without identifiers, off by default
# host = "127.0.0.1"     # and /healthz, /readyz
# port = 9464

# [audit.syslog]         # DICOM audit messages (PS3.15 A.5) over TLS: pseudonyms only, off
# host = "audit.hospital.example"
# port = 6514
# ca = "audit-ca.crt"
"""

PEER_TOML = """\
[[intake.peers]]
name = {name}
ae_title = {ae_title}
{address}may_store = true
# addresses = ["10.0.0.0/24"]  # where it may call from; empty: anywhere
# commitment = true      # grant it a receipt for its copies: read the decision record 80 first
# certificate_sha256 = ["AB:CD:..."]  # it must show this certificate; needs [intake.tls] client_ca
"""

NO_PEERS = """\
# [[intake.peers]]
# name = "pacs"
# ae_title = "PACS"
# host = "10.0.0.5"      # needed for `radfed gateway echo` and back-fill
# port = 104
# addresses = ["10.0.0.0/24"]
"""


@dataclass(frozen=True, slots=True)
class NewPeer:
    """`NAME=AE@HOST:PORT`, or `NAME=AE` for one that only calls."""

    name: str
    ae_title: str
    host: str | None
    port: int | None

    @classmethod
    def parse(cls, text: str) -> "NewPeer":
        name, equals, rest = text.partition("=")
        ae_title, at, address = rest.partition("@")
        host, colon, port = address.rpartition(":")
        if not equals or not name or not ae_title or (at and not (colon and port.isdigit())):
            raise ConfigurationFault(
                f"a peer is NAME=AE@HOST:PORT, or NAME=AE if it only calls; not {text!r}"
            )
        return cls(name, ae_title, host or None, int(port) if port else None)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What `radfed gateway init` was told."""

    config: Path
    site: str
    data: Path
    ae_title: str
    host: str
    port: int | None
    tls_port: int | None
    tls_certificate: Path | None
    tls_key: Path | None
    console_port: int
    reserve_bytes: int
    peers: tuple[NewPeer, ...]
    recovery_code_file: Path | None


def initialise(wishes: Wishes) -> Mapping[str, object]:
    """Write everything a gateway needs to start, each file once and durably.

    The settings file comes last: an interrupted run is simply run again.
    """
    if wishes.config.exists():
        raise ConfigurationFault(
            f"{wishes.config} exists already: use it, or choose another --config"
        )
    text = _settings_text(wishes)
    parse(text, wishes.config)  # refuse before anything is written what `run` would refuse after
    _make_directory(wishes.data)
    wishes.data.chmod(0o700)  # it may have been made before, for everybody to look into
    code = _make_secret(wishes)
    if wishes.tls_port is not None and wishes.tls_certificate is None:
        _make_dicom_certificate(wishes)
    policy = wishes.data / "policy.toml"
    if not policy.exists():
        policy.write_text(DEFAULT_POLICY_TOML, "utf-8")
    _make_directory(wishes.config.resolve().parent)
    wishes.config.write_text(text, "utf-8")
    wishes.config.chmod(0o644)  # it holds no secret, and the account of `run_as` reads it
    made: dict[str, object] = {
        "settings": str(wishes.config),
        "data": str(wishes.data),
        "policy": str(policy),
        "escrow": str(escrow_file(wishes.data / "keys")),
    }
    if wishes.recovery_code_file is None:
        made["recovery_code"] = code
    else:
        made["recovery_code_file"] = str(wishes.recovery_code_file)
    return made


def escrow_file(keys: Path) -> Path:
    return keys / "site.escrow.json"


def verify_escrow(config: GatewayConfig, code: str) -> None:
    """Prove that the recovery code opens the escrow to this site's secret, and remember it."""
    _verify(config.keys_dir, SiteSecret.load(config.site_secret), code)


def require_verified_escrow(config: GatewayConfig) -> None:
    """Refuse to take custody of anything while losing one disk would lose every pseudonym."""
    escrow, marker = escrow_file(config.keys_dir), _marker(config.keys_dir)
    proven = (
        escrow.exists()
        and marker.exists()
        and marker.read_text("ascii").strip() == _fingerprint(escrow)
    )
    if not proven:
        raise ConfigurationFault(
            "the site secret's escrow is not verified: run `radfed gateway escrow verify`"
        )


def _settings_text(wishes: Wishes) -> str:
    tls = ""
    if wishes.tls_port is not None:
        keys = wishes.data / "keys"
        certificate = wishes.tls_certificate or keys / "dicom.crt"
        private_key = wishes.tls_key or keys / "dicom.key"
        tls = (
            "\n[intake.tls]             # DICOM over TLS 1.2 or 1.3\n"
            f"port = {wishes.tls_port}\n"
            f"certificate = {_quoted(str(certificate.absolute()))}\n"
            f"private_key = {_quoted(str(private_key.absolute()))}\n"
            '# client_ca = "pacs-ca.crt"  # set it to demand a client certificate\n'
            '# client_certificates = "optional"  # demand it of pinned peers only\n'
        )
    return GATEWAY_TOML.format(
        site=_quoted(wishes.site),
        data=_quoted(str(wishes.data.absolute())),
        ae_title=_quoted(wishes.ae_title),
        host=_quoted(wishes.host),
        port="# port = 11112           # absent: DICOM over TLS only"
        if wishes.port is None
        else f"port = {wishes.port}",
        tls=tls,
        peers="\n".join(map(_peer_text, wishes.peers)) or NO_PEERS,
        reserve=wishes.reserve_bytes,
        console_port=wishes.console_port,
    )


def _peer_text(peer: NewPeer) -> str:
    address = "" if peer.host is None else f"host = {_quoted(peer.host)}\nport = {peer.port}\n"
    return PEER_TOML.format(
        name=_quoted(peer.name), ae_title=_quoted(peer.ae_title), address=address
    )


def _quoted(text: str) -> str:
    """Return a TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as fault:
        raise EnvironmentFault(f"{path} cannot be made: {fault.strerror}") from fault
    if not os.access(path, os.W_OK | os.X_OK):
        raise EnvironmentFault(f"{path} is not writable for this account: choose another --data")


def _make_secret(wishes: Wishes) -> str:
    """Make the site secret and its escrow; return the recovery code."""
    keys = wishes.data / "keys"
    path = keys / "site.secret"
    secret = SiteSecret.load(path) if path.exists() else SiteSecret.create(path)
    code = new_recovery_code()
    escrow = escrow_file(keys)
    escrow.unlink(missing_ok=True)
    write_private(escrow, secret.escrow(code).encode())
    if wishes.recovery_code_file is not None:
        try:
            write_private(wishes.recovery_code_file, (code + "\n").encode())
        except FileExistsError as fault:
            raise ConfigurationFault(f"{wishes.recovery_code_file} exists already") from fault
        code = read_private(wishes.recovery_code_file).decode("ascii").strip()
    _verify(keys, secret, code)
    return code


def _verify(keys: Path, secret: SiteSecret, code: str) -> None:
    escrow = escrow_file(keys)
    if not SiteSecret.recover(read_private(escrow).decode(), code).matches(secret):
        raise IntegrityFault(f"{escrow} holds another site's secret: make a new escrow")
    marker = _marker(keys)
    marker.unlink(missing_ok=True)
    write_private(marker, _fingerprint(escrow).encode("ascii"))


def _marker(keys: Path) -> Path:
    return keys / "site.escrow.verified"


def _fingerprint(escrow: Path) -> str:
    return sha256(escrow.read_bytes()).hexdigest()


def _make_dicom_certificate(wishes: Wishes) -> None:
    """Make a self-signed certificate for DICOM over TLS; the PACS administrator pins it."""
    from gateway.app.certificate import self_signed

    keys = wishes.data / "keys"
    if (keys / "dicom.key").exists():
        return
    certificate, private_key = self_signed(wishes.site, wishes.host)
    write_private(keys / "dicom.key", private_key)
    (keys / "dicom.crt").write_bytes(certificate)
