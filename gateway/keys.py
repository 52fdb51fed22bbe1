"""The site secret, its subkeys and its escrow: the only place it is read."""

import json
import os
import secrets
import stat
from base64 import b32encode, b64decode, b64encode
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from gateway.durable import replace_durably, sync_directory
from gateway.errors import ConfigurationFault, EnvironmentFault, IntegrityFault

SECRET_BYTES = 32
OWNER_ONLY = 0o600
VERSIONS = "versions.json"
ROTATION = "rotation.json"
SCRYPT_COST = 2**15  # 32 MiB, about 0.1 s


class Purpose(StrEnum):
    """What a subkey is for; each rotates by itself."""

    PSEUDONYM = "pseudonym"
    SHIFT = "shift"
    NOISE = "noise"
    SPLIT = "split"
    SEAL = "seal"
    VAULT = "vault"
    FETCH = "fetch"
    COMMITMENT = "commitment"
    CHECKPOINT = "checkpoint"  # the seed of an Ed25519 key
    BACKUP = "backup"  # seals the private keys in one
    REPORT = "report"  # seed of the Ed25519 key that signs statistics
    SUM = "sum"  # seed of the Ed25519 key that other hospitals pin for secure sums


# Records and vault files name no key: whoever opens one tries the newest first.
ROTATING = frozenset({Purpose.SEAL, Purpose.VAULT})
# Its answers are stored, and its versions beside them: the privacy ledger turns it.
ANSWERING = frozenset({Purpose.NOISE})
# What these made stands in every stored file: a new version is a run over the store.
REMAPPING = frozenset({Purpose.PSEUDONYM, Purpose.SHIFT})
LOOK_AHEAD = 3  # versions tried beyond the newest known: a restored backup may be older


@dataclass(frozen=True, slots=True)
class Ring:
    """The versions of one subkey: the newest writes, every one opens, the first names things."""

    newest: bytes
    others: tuple[bytes, ...]
    first: bytes

    def __repr__(self) -> str:
        return "Ring(...)"

    @classmethod
    def of(cls, key: "bytes | Ring") -> "Ring":
        return key if isinstance(key, Ring) else cls(key, (), key)

    @property
    def keys(self) -> tuple[bytes, ...]:
        return (self.newest, *self.others)


class SiteSecret:
    """The 32 random bytes every pseudonym, seal and noise seed of one hospital hangs on."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise IntegrityFault(f"a site secret has {SECRET_BYTES} bytes: restore it from escrow")
        self._secret = secret

    def __repr__(self) -> str:
        return "SiteSecret(...)"

    def subkey(self, purpose: Purpose, version: int = 1) -> bytes:
        """Derive a 32-byte subkey (HKDF-SHA-256, RFC 5869)."""
        info = f"radfed site {purpose} v{version}".encode()
        return HKDF(SHA256(), 32, salt=None, info=info).derive(self._secret)

    def ring(self, purpose: Purpose, newest: int) -> Ring:
        """Derive every version that may be met, the newest first."""
        later = range(newest + 1, newest + 1 + LOOK_AHEAD)
        others = (self.subkey(purpose, one) for one in (*range(newest - 1, 0, -1), *later))
        return Ring(self.subkey(purpose, newest), tuple(others), self.subkey(purpose))

    def versions(self, purpose: Purpose, newest: int) -> tuple[bytes, ...]:
        """Derive every version there was, the first first."""
        return tuple(self.subkey(purpose, one) for one in range(1, newest + 1))

    @classmethod
    def create(cls, path: Path) -> "SiteSecret":
        """Make a new secret, durably, readable by its owner alone; never overwrite one."""
        secret = secrets.token_bytes(SECRET_BYTES)
        write_private(path, secret)
        return cls(secret)

    def store(self, path: Path) -> None:
        """Write a recovered secret where a new one would be made."""
        write_private(path, self._secret)

    @classmethod
    def load(cls, path: Path) -> "SiteSecret":
        return cls(read_private(path))

    def escrow(self, recovery_code: str) -> str:
        """Return the secret wrapped under a recovery code (scrypt, AES-256-GCM), as JSON."""
        salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
        wrapped = AESGCM(_stretch(recovery_code, salt)).encrypt(
            nonce, self._secret, b"radfed escrow v1"
        )
        fields = {"salt": salt, "nonce": nonce, "wrapped": wrapped}
        return json.dumps({"version": 1} | {k: b64encode(v).decode() for k, v in fields.items()})

    @classmethod
    def recover(cls, escrow: str, recovery_code: str) -> "SiteSecret":
        """Unwrap an escrow; IntegrityFault when the code is not the one."""
        try:
            fields = json.loads(escrow)
            salt, nonce, wrapped = (
                b64decode(fields[name]) for name in ("salt", "nonce", "wrapped")
            )
            return cls(
                AESGCM(_stretch(recovery_code, salt)).decrypt(nonce, wrapped, b"radfed escrow v1")
            )
        except (InvalidTag, ValueError, KeyError, TypeError) as fault:
            raise IntegrityFault(
                "the recovery code does not open this escrow: check both"
            ) from fault

    def matches(self, other: "SiteSecret") -> bool:
        return secrets.compare_digest(self._secret, other._secret)  # noqa: SLF001 - its own class


def key_versions(keys_dir: Path) -> dict[Purpose, int]:
    """Return the newest version of each subkey that rotates; 1 where none was."""
    versions = dict.fromkeys(sorted(ROTATING | REMAPPING), 1)
    try:
        kept = json.loads((keys_dir / VERSIONS).read_text("utf-8"))
        versions |= {Purpose(name): int(version) for name, version in kept.items()}
    except FileNotFoundError:
        return versions
    except (ValueError, TypeError, AttributeError) as fault:
        raise IntegrityFault(f"{keys_dir / VERSIONS} is damaged: restore it") from fault
    return versions


def rotate_key(keys_dir: Path, purpose: Purpose) -> int:
    """Let a new version of a subkey write from now on, durably; return its number."""
    if purpose not in ROTATING:
        names = ", ".join(sorted(ROTATING))
        raise ConfigurationFault(f"the {purpose} key does not rotate by itself: {names} do")
    return write_version(keys_dir, purpose, key_versions(keys_dir)[purpose] + 1)


def write_version(keys_dir: Path, purpose: Purpose, version: int) -> int:
    """Let this version of a subkey write from now on, durably; the same again changes nothing."""
    versions = key_versions(keys_dir)
    if versions[purpose] != version:
        versions[purpose] = version
        replace_durably(keys_dir / VERSIONS, json.dumps(versions).encode())
    return version


def remember_used(path: Path, keys_dir: Path) -> None:
    """Write beside the store which versions it was made with; a later backup has them apart."""
    replace_durably(path, json.dumps(_remapping(keys_dir)).encode())


def require_used(path: Path, keys_dir: Path) -> None:
    """Refuse keys older than the store: a patient would get a second pseudonym unseen."""
    try:
        used = json.loads(path.read_text("utf-8"))
        behind = any(int(used[name]) > version for name, version in _remapping(keys_dir).items())
    except FileNotFoundError:
        return
    except (ValueError, TypeError, KeyError) as fault:
        raise IntegrityFault(f"{path} is damaged: restore it") from fault
    if behind:
        raise IntegrityFault(
            f"{keys_dir / VERSIONS} is older than the store: restore the newest one there was"
        )


def _remapping(keys_dir: Path) -> dict[str, int]:
    versions = key_versions(keys_dir)
    return {str(purpose): versions[purpose] for purpose in sorted(REMAPPING)}


@dataclass(frozen=True, slots=True)
class Rotation:
    """A new version of a key that stands in every stored file, while the store is brought to it."""

    key: Purpose
    version: int
    by: str
    done: int = 0
    instances: int = 0


def rotation_under_way(keys_dir: Path) -> Rotation | None:
    """Return the rotation the store is not through with; what cannot be read is never guessed."""
    path = keys_dir / ROTATION
    try:
        kept = json.loads(path.read_text("utf-8"))
        return Rotation(**(kept | {"key": Purpose(kept["key"])}))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as fault:
        raise IntegrityFault(f"{path} is damaged: restore it") from fault


def remember_rotation(keys_dir: Path, rotation: Rotation) -> None:
    replace_durably(keys_dir / ROTATION, json.dumps(asdict(rotation)).encode())


def end_rotation(keys_dir: Path) -> None:
    (keys_dir / ROTATION).unlink(missing_ok=True)
    sync_directory(keys_dir)


def new_recovery_code() -> str:
    """Return 160 random bits as eight groups of four letters, to be written on paper."""
    text = b32encode(secrets.token_bytes(20)).decode()
    return "-".join(text[i : i + 4] for i in range(0, len(text), 4))


def write_private(path: Path, content: bytes) -> None:
    """Create a file of mode 0600, durably; FileExistsError where there is one already."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_private(path: Path) -> bytes:
    """Read a key file; refuse one that others could read too."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError as fault:
        raise ConfigurationFault(
            f"{path} is missing: run `radfed gateway init` or restore it"
        ) from fault
    except OSError as fault:
        raise EnvironmentFault(f"{path} cannot be read: {fault.strerror}") from fault
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ConfigurationFault(f"{path} is a directory: name the file in it")
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise ConfigurationFault(f"{path} can be read by others: run `chmod 600 {path}`")
        return file.read()


def _stretch(recovery_code: str, salt: bytes) -> bytes:
    code = "".join(recovery_code.split()).replace("-", "").upper().encode()
    return Scrypt(salt, 32, n=SCRYPT_COST, r=8, p=1).derive(code)
