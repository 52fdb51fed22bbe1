"""The people who may open the way back, two at a time; each holds a pass key nobody else has.

A custodian's file holds no key, only what proves one. It counts while the audit trail, which is
hash-chained, last said of that name that exactly this file was made: one that was slipped in does
not. Whoever is added shows the recovery code, which lies on paper in a safe.
"""

import hmac
import json
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from gateway.app.build import build_audit
from gateway.app.setup import verify_escrow
from gateway.audit import AuditTrail
from gateway.config import GatewayConfig
from gateway.durable import make_durably, replace_durably, sync_directory
from gateway.errors import ConfigurationFault, Refused
from gateway.keys import new_recovery_code, write_private

NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?")
ADDED, REMOVED = "custodian_added", "custodian_removed"
NEEDED = 2
COST = 2**14  # the keys have 160 bits: stretching is for the day somebody shortens them


class NotTwo(Refused):
    """Fewer than two custodians have shown their keys."""


@dataclass(frozen=True, slots=True)
class Custodian:
    name: str
    since: str
    salt: bytes
    proof: bytes

    @property
    def digest(self) -> str:
        return sha256(self.salt + self.proof).hexdigest()

    def opens(self, code: str) -> bool:
        return hmac.compare_digest(_stretched(code, self.salt), self.proof)


def add_custodian(
    config: GatewayConfig, name: str, recovery_code: str, by: str, key_file: Path | None
) -> dict[str, Any]:
    """Make a pass key for one person; it is shown, or written to a file of theirs, once."""
    _require_name(name)
    verify_escrow(config, recovery_code)
    with closing(build_audit(config)) as audit:
        if name in {custodian.name for custodian in _standing(config, audit)}:
            raise ConfigurationFault(f"{name} is a custodian already: remove first, then add anew")
        code, salt = new_recovery_code(), secrets.token_bytes(16)
        pass_key = f"{name}:{code}"
        if key_file is not None:
            _write(key_file, pass_key)
        made = Custodian(name, _now(), salt, _stretched(code, salt))
        make_durably(_folder(config))
        replace_durably(_file(config, name), _packed(made))
        audit.record(ADDED, custodian=name, proof=made.digest, by=by)
    shown = {"pass_key": pass_key} if key_file is None else {"pass_key_file": str(key_file)}
    return {"custodian": name, **shown}


def remove_custodian(config: GatewayConfig, name: str, by: str, reason: str) -> dict[str, Any]:
    """Let a pass key open nothing any more."""
    _require_name(name)
    path = _file(config, name)
    if not path.exists():
        raise ConfigurationFault(
            f"{name} is no custodian: `radfed gateway custodian ls` lists them"
        )
    with closing(build_audit(config)) as audit:
        audit.record(REMOVED, custodian=name, by=by, reason=reason)
        path.unlink()
        sync_directory(path.parent)
        left = len(_standing(config, audit))
    return {"custodian": name, "state": "removed", "left": left}


def custodians(config: GatewayConfig) -> list[dict[str, Any]]:
    """List who may open the way back; a file the trail does not vouch for is named as such."""
    with closing(build_audit(config)) as audit:
        vouched = {custodian.name for custodian in _standing(config, audit)}
    return [
        {"custodian": one.name, "since": one.since, "counts": one.name in vouched}
        for one in _files(config)
    ]


def prove_two(config: GatewayConfig, audit: AuditTrail, pass_keys: Iterable[str]) -> list[str]:
    """Return the names of two different custodians whose keys these are; else NotTwo."""
    standing = {custodian.name: custodian for custodian in _standing(config, audit)}
    if len(standing) < NEEDED:
        raise NotTwo("two custodians are needed: `radfed gateway custodian add` makes them")
    proven: list[str] = []
    for pass_key in pass_keys:
        name, _, code = pass_key.strip().partition(":")
        custodian = standing.get(name)
        if custodian is not None and custodian.opens(code) and name not in proven:
            proven.append(name)
    if len(proven) < NEEDED:
        raise NotTwo("two different custodians must show their pass keys: not both were right")
    return proven[:NEEDED]


def _standing(config: GatewayConfig, audit: AuditTrail) -> list[Custodian]:
    """Return whose file is the one the trail last spoke of; IntegrityFault if that was altered."""
    audit.verify()
    latest: dict[str, str] = {}
    for event in audit.events():
        if event.event in (ADDED, REMOVED):
            name = str(event.facts["custodian"])
            latest[name] = str(event.facts["proof"]) if event.event == ADDED else ""
    return [one for one in _files(config) if latest.get(one.name) == one.digest]


def _files(config: GatewayConfig) -> list[Custodian]:
    found = []
    for path in sorted(_folder(config).glob("*.json")):
        try:
            kept = json.loads(path.read_text("utf-8"))
            salt, proof = b64decode(kept["salt"]), b64decode(kept["proof"])
            found.append(Custodian(path.stem, str(kept["since"]), salt, proof))
        except (ValueError, KeyError, TypeError, OSError):
            continue  # not one of ours: nobody's proof
    return found


def _packed(made: Custodian) -> bytes:
    fields = {
        "since": made.since,
        "salt": b64encode(made.salt).decode(),
        "proof": b64encode(made.proof).decode(),
    }
    return json.dumps(fields).encode()


def _require_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ConfigurationFault("a custodian's name is one word: a-z, then digits or hyphens")


def _write(path: Path, pass_key: str) -> None:
    try:
        write_private(path, (pass_key + "\n").encode())
    except FileExistsError as fault:
        raise ConfigurationFault(f"{path} exists already") from fault


def _folder(config: GatewayConfig) -> Path:
    return config.keys_dir / "custodians"


def _file(config: GatewayConfig, name: str) -> Path:
    return _folder(config) / f"{name}.json"


def _stretched(code: str, salt: bytes) -> bytes:
    plain = "".join(code.split()).replace("-", "").upper().encode()
    return Scrypt(salt, 32, n=COST, r=8, p=1).derive(plain)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
