"""What proves that somebody is who they say: a password's hash, a code of 30 seconds."""

import hmac
import os
import secrets
from base64 import b32encode
from dataclasses import dataclass
from threading import Lock
from urllib.parse import quote

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.twofactor.totp import TOTP

# 32 MiB and a twentieth of a second for each guess; one at a time, so that a crowd of guesses
# takes no gateway's memory.
COST, BLOCK, LANES, LENGTH = 1 << 15, 8, 1, 32
SALT_BYTES = 16
SECRET_BYTES = 20  # RFC 4226 4, R6
DIGITS, STEP_SECONDS = 6, 30  # what every authenticator app can
DRIFT_STEPS = (0, -1, 1)  # a phone's clock
_ONE_AT_A_TIME = Lock()


@dataclass(frozen=True, slots=True)
class PasswordHash:
    salt: bytes
    digest: bytes

    @classmethod
    def of(cls, password: str) -> "PasswordHash":
        salt = os.urandom(SALT_BYTES)
        return cls(salt, _derive(password, salt))

    def fits(self, password: str) -> bool:
        return hmac.compare_digest(_derive(password, self.salt), self.digest)


def _derive(password: str, salt: bytes) -> bytes:
    with _ONE_AT_A_TIME:
        return Scrypt(salt=salt, length=LENGTH, n=COST, r=BLOCK, p=LANES).derive(password.encode())


def new_secret() -> bytes:
    return secrets.token_bytes(SECRET_BYTES)


def spelled(secret: bytes) -> str:
    """Return a secret as an authenticator app takes it."""
    return b32encode(secret).decode("ascii")


def provisioning(secret: bytes, name: str, site: str) -> str:
    """Return what the QR code says (the key URI format every app reads)."""
    issuer = quote(f"radfed {site}")
    return f"otpauth://totp/{issuer}:{quote(name)}?secret={spelled(secret)}&issuer={issuer}"


def code_at(secret: bytes, now: float) -> str:
    return _totp(secret).generate(int(now)).decode("ascii")


def step_of(secret: bytes, code: str, now: float, after: int) -> int | None:
    """Return the time step a code is of; None for a wrong one and for one that was used."""
    totp = _totp(secret)
    for drift in DRIFT_STEPS:
        moment = int(now) + drift * STEP_SECONDS
        step = moment // STEP_SECONDS
        fits = hmac.compare_digest(totp.generate(moment), code.encode("utf-8", "replace"))
        if fits and step > after:
            return step
    return None


def _totp(secret: bytes) -> TOTP:
    return TOTP(secret, DIGITS, SHA1(), STEP_SECONDS)  # noqa: S303 - RFC 6238, what apps speak
