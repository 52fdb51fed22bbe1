"""The federation's offline authority: a directory on a machine without a network."""

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as daytime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key
from pydantic import ValidationError

from coordinator.config import explain, read_private, write_private
from coordinator.errors import ConfigurationFault, EnvironmentFault, InvalidRequest
from coordinator.registry import custody
from coordinator.registry.certificates import (
    Keyed,
    load_keyed,
    make_root,
    requested_key,
    sign_issuing,
)
from coordinator.registry.custody import Custodian
from protos.identity import NAME
from protos.manifest import Manifest, read_manifest, sign_manifest
from protos.root import NotOfTheRoot, fingerprint, require_root, succession

ROOT, LOCAL_KEY, SEALED_KEY, MANIFEST = "root.crt", "root.key", "root.key.sealed", "manifest.json"
SIGNED = "signed.log"  # one line for each signature of the root
MANIFEST_DAYS = 366
MOMENTS = ("expires", "not_before")

# Asks one custodian for the passphrase: at a terminal, or from a file.
Ask = Callable[[str], Custodian]


def share_name(custodian: str) -> str:
    return f"custodian-{custodian}.share"


@dataclass(frozen=True, slots=True)
class Authority:
    """Where a root lies; its key is opened for one signature and let go."""

    directory: Path
    root: x509.Certificate

    @classmethod
    def load(cls, directory: Path) -> "Authority":
        try:
            root = x509.load_pem_x509_certificate(_content(directory / ROOT))
            require_root(root)
        except ValueError as fault:
            raise ConfigurationFault(f"{directory / ROOT} is not a root's certificate") from fault
        return cls(directory, root)

    @classmethod
    def create(
        cls, directory: Path, federation: str, custodians: tuple[Custodian, ...], now: datetime
    ) -> "Authority":
        """Make a root whose key two custodians hold; nothing is ever overwritten."""
        if not NAME.fullmatch(federation):
            raise ConfigurationFault(
                "a federation's name is 1-63 lower-case letters, digits and inner hyphens"
            )
        if (directory / ROOT).exists():
            raise EnvironmentFault(f"{directory} holds a root already and it is never overwritten")
        made = make_root(federation, now)
        sealed = custody.seal(made.key_der, fingerprint(made.certificate), custodians)
        for name, share in sealed.shares.items():
            write_private(directory / share_name(name), share)
        write_private(directory / SEALED_KEY, sealed.key)
        write_private(directory / ROOT, made.certificate_pem)
        return cls(directory, made.certificate)

    @property
    def federation(self) -> str:
        (name,) = self.root.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return str(name.value).removesuffix(" root")

    @property
    def is_local(self) -> bool:
        """Whether its key lies here in the clear, as `coordinator init` makes it."""
        return (self.directory / LOCAL_KEY).exists()

    def custodians(self) -> tuple[str, ...]:
        if self.is_local:
            return ()
        return custody.custodians_of(_content(self.directory / SEALED_KEY))

    def manifest(self) -> Manifest | None:
        """Return the manifest signed last."""
        file = self.directory / MANIFEST
        try:
            return read_manifest(file.read_bytes(), [self.root]) if file.exists() else None
        except NotOfTheRoot as fault:
            raise ConfigurationFault(f"{file}: {fault}") from fault

    def open(self, ask: Ask, shares: Mapping[str, Path]) -> Keyed:
        """Bring both custodians together; return the root with its key."""
        pem = self.root.public_bytes(Encoding.PEM)
        if self.is_local:
            return load_keyed(pem, read_private(self.directory / LOCAL_KEY))
        sealed = _content(self.directory / SEALED_KEY)
        names = custody.custodians_of(sealed)
        places = {name: shares.get(name, self.directory / share_name(name)) for name in names}
        held = {name: _content(place) for name, place in places.items()}
        key = load_der_private_key(custody.unseal(sealed, held, tuple(map(ask, names))), None)
        if not isinstance(key, EllipticCurvePrivateKey):
            raise ConfigurationFault("the sealed key is none of a root: use the copy")
        return Keyed(self.root, key)

    def note(self, what: str, now: datetime, **facts: str | int) -> None:
        """Append to the list of what this root has signed."""
        line = json.dumps({"at": now.isoformat(), "signed": what, **facts})
        with (self.directory / SIGNED).open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def read_draft(file: Path, authority: Authority, now: datetime) -> Manifest:
    """Read a manifest as its authors write it (TOML); the version follows the one signed last."""
    try:
        wishes: dict[str, Any] = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigurationFault(f"{file} cannot be read: {fault}") from fault
    except tomllib.TOMLDecodeError as fault:
        raise ConfigurationFault(f"{file} is not TOML: {fault}") from fault
    last = authority.manifest()
    following = 1 if last is None else last.version + 1
    defaults: dict[str, Any] = {
        "federation": authority.federation,
        "version": following,
        "not_before": int(now.timestamp()) - 300,
        "expires": int((now + timedelta(days=MANIFEST_DAYS)).timestamp()),
    }
    try:
        manifest = Manifest.model_validate(defaults | _with_moments(wishes), strict=False)
    except ValidationError as fault:
        raise ConfigurationFault(f"{file}: {explain(fault)}") from fault
    if manifest.version < following:
        raise ConfigurationFault(
            f"{file}: version {manifest.version} was signed before: hospitals take no older one"
        )
    if manifest.federation != authority.federation:
        raise ConfigurationFault(f"{file} is for {manifest.federation}: this root is not its root")
    return manifest


def sign_draft(authority: Authority, manifest: Manifest, root: Keyed, now: datetime) -> bytes:
    """Sign a manifest and remember it as the newest."""
    signed = sign_manifest(manifest, root.key)
    passing = authority.directory / f".{MANIFEST}"
    passing.unlink(missing_ok=True)
    write_private(passing, signed)
    passing.replace(authority.directory / MANIFEST)
    authority.note("manifest", now, version=manifest.version)
    return signed


def read_request(file: Path) -> x509.CertificateSigningRequest:
    """Read the coordinator's request for an intermediate."""
    try:
        request = x509.load_pem_x509_csr(file.read_bytes())
        requested_key(request)
    except (OSError, ValueError, InvalidRequest) as fault:
        raise ConfigurationFault(
            f"{file} is neither a manifest (TOML) nor a coordinator's request (PEM)"
        ) from fault
    return request


def sign_request(
    authority: Authority, request: x509.CertificateSigningRequest, root: Keyed, now: datetime
) -> bytes:
    """Certify the coordinator's intermediate; return it, PEM."""
    key = requested_key(request)
    made = sign_issuing(root, key, authority.federation, now)
    authority.note("intermediate", now, serial=f"{made.serial_number:x}")
    return made.public_bytes(Encoding.PEM)


def rotate(
    old: Authority, root: Keyed, into: Path, custodians: tuple[Custodian, ...], now: datetime
) -> bytes:
    """Make the successor of a root; return the old root's word for it."""
    new = Authority.create(into, old.federation, custodians, now)
    word = succession(root.key, old.federation, new.root)
    old.note("successor", now, root=fingerprint(new.root))
    if (last := old.manifest()) is not None:  # the successor goes on counting where this one ends
        _carry(last, new)
    return word


def _carry(last: Manifest, new: Authority) -> None:
    write_private(new.directory / "manifest.toml", draft_text(last).encode())


def draft_text(manifest: Manifest) -> str:
    """Return a manifest as its authors would write it, one version on."""
    lines = [f"version = {manifest.version + 1}", ""]
    for table, parts in (("signers", manifest.signers), ("projects", manifest.projects)):
        for part in parts:
            lines.append(f"[[{table}]]")
            fields = part.model_dump(mode="json")
            lines += [f"{name} = {_toml(name, value)}" for name, value in fields.items()]
            lines.append("")
    return "\n".join(lines)


def _content(file: Path) -> bytes:
    """Read a file that is sealed, or public: it may lie on a medium that knows no modes."""
    try:
        return file.read_bytes()
    except FileNotFoundError as fault:
        raise ConfigurationFault(f"{file} is missing: say where it lies with --share") from fault
    except OSError as fault:
        raise EnvironmentFault(f"{file} cannot be read: {fault.strerror}") from fault


def _toml(name: str, value: Any) -> str:  # noqa: ANN401 - a field of the manifest
    if name in MOMENTS:
        return datetime.fromtimestamp(value, UTC).isoformat().replace("+00:00", "Z")
    return json.dumps(value, ensure_ascii=False)  # strings and lists are written alike in TOML


def _with_moments(wishes: Any) -> Any:  # noqa: ANN401 - parsed TOML
    """Replace TOML's dates by seconds: a day means its last second, UTC."""
    if isinstance(wishes, dict):
        return {key: _with_moments(value) for key, value in wishes.items()}
    if isinstance(wishes, list):
        return [_with_moments(value) for value in wishes]
    if isinstance(wishes, datetime):
        return int((wishes if wishes.tzinfo else wishes.replace(tzinfo=UTC)).timestamp())
    if isinstance(wishes, date):
        return int(datetime.combine(wishes, daytime(23, 59, 59), UTC).timestamp())
    return wishes
