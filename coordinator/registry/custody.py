"""The root key in two hands: sealed so that neither custodian alone can open it."""

import json
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from coordinator.errors import ConfigurationFault, IntegrityFault, Refused

CUSTODIANS = 2
PASSPHRASE_LENGTH = 12
SCRYPT_COST = 2**17  # 128 MiB, about 0.4 s: paid twice for each signature of the root
SHARE_BYTES = 32
NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Custodian:
    """One of the two people without whom the root signs nothing."""

    name: str
    passphrase: str = field(repr=False)

    def require_strong(self) -> None:
        if len(self.passphrase) < PASSPHRASE_LENGTH:
            raise ConfigurationFault(
                f"{self.name}'s passphrase is shorter than {PASSPHRASE_LENGTH} characters"
            )


@dataclass(frozen=True, slots=True)
class Sealed:
    """The key, which both shares open together, and each custodian's share by name."""

    key: bytes
    shares: Mapping[str, bytes]


def seal(key: bytes, authority: str, custodians: tuple[Custodian, ...]) -> Sealed:
    """Seal a root's private key; `authority` is the fingerprint that ties the files together.

    Each custodian holds random bytes under a passphrase of their own: a share can be carried away,
    copied and given another passphrase without the other custodian, and says nothing alone.
    """
    _require_two(custodians)
    parts = {custodian.name: secrets.token_bytes(SHARE_BYTES) for custodian in custodians}
    sealed = _encrypt(_joined(parts), key, _context(authority, "root"))
    shares = {c.name: _wrap(parts[c.name], c, authority) for c in custodians}
    return Sealed(_document({"authority": authority, "custodians": sorted(parts)}, sealed), shares)


def custodians_of(sealed: bytes) -> tuple[str, ...]:
    """Return whose shares a sealed key needs."""
    return tuple(_read(sealed)["custodians"])


def unseal(sealed: bytes, shares: Mapping[str, bytes], custodians: tuple[Custodian, ...]) -> bytes:
    """Open a root's key with both shares; Refused names the one that does not open."""
    document = _read(sealed)
    authority, wanted = str(document["authority"]), set(document["custodians"])
    given = {custodian.name: custodian for custodian in custodians}
    if set(given) != wanted or set(shares) != wanted:
        raise Refused(f"this key needs both of its custodians: {', '.join(sorted(wanted))}")
    parts = {name: _unwrap(shares[name], given[name], authority) for name in wanted}
    try:
        return _decrypt(_joined(parts), document, _context(authority, "root"))
    except InvalidTag as fault:
        raise IntegrityFault(
            "the shares do not open this key: they are of another sealing"
        ) from fault


def _require_two(custodians: tuple[Custodian, ...]) -> None:
    if len({custodian.name for custodian in custodians}) != CUSTODIANS:
        raise ConfigurationFault("a root has two custodians: name both, two different people")
    for custodian in custodians:
        custodian.require_strong()
    if len({custodian.passphrase for custodian in custodians}) < CUSTODIANS:
        raise ConfigurationFault("the two passphrases are the same: one person would hold the root")


def _wrap(part: bytes, custodian: Custodian, authority: str) -> bytes:
    salt = secrets.token_bytes(16)
    sealed = _encrypt(_stretch(custodian, salt), part, _context(authority, custodian.name))
    facts = {"authority": authority, "custodian": custodian.name, "salt": b64encode(salt).decode()}
    return _document(facts, sealed)


def _unwrap(share: bytes, custodian: Custodian, authority: str) -> bytes:
    document = _read(share)
    if document.get("authority") != authority or document.get("custodian") != custodian.name:
        raise ConfigurationFault(f"this is not {custodian.name}'s share of this root")
    try:
        salt = b64decode(document["salt"])
        context = _context(authority, custodian.name)
        return _decrypt(_stretch(custodian, salt), document, context)
    except (InvalidTag, KeyError, ValueError) as fault:
        raise Refused(f"{custodian.name}'s passphrase does not open the share") from fault


def _joined(parts: Mapping[str, bytes]) -> bytes:
    material = b"".join(parts[name] for name in sorted(parts))
    return HKDF(SHA256(), 32, salt=None, info=b"radfed root custody v1").derive(material)


def _stretch(custodian: Custodian, salt: bytes) -> bytes:
    return Scrypt(salt, 32, n=SCRYPT_COST, r=8, p=1).derive(custodian.passphrase.encode())


def _context(authority: str, whose: str) -> bytes:
    return f"radfed custody v1 {authority} {whose}".encode()


def _encrypt(key: bytes, content: bytes, context: bytes) -> dict[str, str]:
    nonce = secrets.token_bytes(NONCE_BYTES)
    wrapped = AESGCM(key).encrypt(nonce, content, context)
    return {"nonce": b64encode(nonce).decode(), "wrapped": b64encode(wrapped).decode()}


def _decrypt(key: bytes, document: Mapping[str, str], context: bytes) -> bytes:
    nonce, wrapped = (b64decode(document[name]) for name in ("nonce", "wrapped"))
    return AESGCM(key).decrypt(nonce, wrapped, context)


def _document(facts: Mapping[str, object], sealed: Mapping[str, str]) -> bytes:
    return json.dumps({**facts, **sealed}, indent=2).encode() + b"\n"


def _read(document: bytes) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(document)
        found["authority"], found["wrapped"], found["nonce"]
    except (ValueError, KeyError, TypeError) as fault:
        raise IntegrityFault("a file of the root's custody is damaged: use the copy") from fault
    return found
