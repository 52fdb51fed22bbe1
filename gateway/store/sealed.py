"""The sealed record: what identified an instance, encrypted, at fixed size, in its file meta.

It stands in Private Information (0002,0102) under the creator (0002,0100) (PS3.10 7.1), and is the
way back to the PACS, the duplicate check and the proof of origin. AES-256-GCM under the site's
sealing key; the pseudonymous SOP Instance UID is authenticated with it, so that a record fits no
other file.
"""

import secrets
from dataclasses import dataclass
from datetime import date
from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.poly1305 import Poly1305

from gateway.errors import GatewayError, IntegrityFault
from gateway.model import Lane, Original, RealUID

CREATOR_UID: Final = "2.25.289167334141858204666077306302599200505"
SIZE: Final = 1024
VERSION: Final = 1
NONCE_BYTES = 12
PLAIN_BYTES = SIZE - 1 - NONCE_BYTES - 16
DIGEST_BYTES = 32
_FIXED = Struct("<32s16s32sBBHBB")  # received, pixels, profile, lane, countable, date
_LANES = tuple(Lane)


class CannotSeal(GatewayError):
    """An identifier is longer than any the standard allows."""

    def __init__(self) -> None:
        super().__init__(
            "an identifier of the instance is too long for its sealed record: "
            "correct it at the sender"
        )


@dataclass(frozen=True, slots=True)
class SealedRecord:
    received: bytes  # SHA-256 of the dataset as received
    pixels: bytes  # keyed print of the Pixel Data value as received
    profile: bytes  # SHA-256, the profile's digest
    lane: Lane
    countable: bool
    sender: str  # calling AE title
    original: Original


class Seal:
    """Seals and opens records under one key of the site."""

    def __init__(self, seal_key: bytes) -> None:
        self._cipher = AESGCM(seal_key)
        self._pixel_key = HKDFExpand(SHA256(), 32, b"radfed pixel print v1").derive(seal_key)

    def pixel_print(self) -> Poly1305:
        """Begin a keyed print of pixel bytes.

        Poly1305 costs a sixth of SHA-256 here. Its key may serve many prints because none is ever
        shown: they rest sealed, and only their equality is used (8 L / 2^106 for a false match).
        """
        return Poly1305(self._pixel_key)

    def close(self, record: SealedRecord, pseudo_sop_uid: str) -> bytes:
        """Return SIZE bytes; CannotSeal when an identifier is absurdly long."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        plain = _pack(record)
        return bytes([VERSION]) + nonce + self._cipher.encrypt(nonce, plain, _bound(pseudo_sop_uid))

    def open(self, sealed: bytes, pseudo_sop_uid: str) -> SealedRecord:
        """Return the record; IntegrityFault when it is not this site's, or not this file's."""
        if len(sealed) != SIZE or sealed[0] != VERSION:
            raise IntegrityFault("a stored file has no sealed record of this version")
        nonce, body = sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :]
        try:
            return _unpack(self._cipher.decrypt(nonce, body, _bound(pseudo_sop_uid)))
        except InvalidTag as fault:
            raise IntegrityFault(
                "a sealed record does not open: another key, or changed"
            ) from fault


def _bound(pseudo_sop_uid: str) -> bytes:
    return b"radfed sealed record v1 " + pseudo_sop_uid.encode("ascii")


def _pack(record: SealedRecord) -> bytes:
    original = record.original
    day = original.study_date
    fixed = _FIXED.pack(
        record.received,
        record.pixels,
        record.profile,
        _LANES.index(record.lane),
        record.countable,
        *((day.year, day.month, day.day) if day else (0, 0, 0)),
    )
    texts = (
        record.sender,
        original.patient_id,
        original.issuer,
        original.study_uid,
        original.series_uid,
        original.sop_uid,
    )
    encoded = [text.encode("utf-8", "surrogateescape") for text in texts]
    plain = fixed + b"".join(len(text).to_bytes(2, "little") + text for text in encoded)
    if len(plain) > PLAIN_BYTES:
        raise CannotSeal
    return plain.ljust(PLAIN_BYTES, b"\0")


def _unpack(plain: bytes) -> SealedRecord:
    received, pixels, profile, lane, countable, year, month, day = _FIXED.unpack_from(plain)
    texts, at = [], _FIXED.size
    for _ in range(6):
        size = int.from_bytes(plain[at : at + 2], "little")
        texts.append(plain[at + 2 : at + 2 + size].decode("utf-8", "surrogateescape"))
        at += 2 + size
    sender, patient_id, issuer, study_uid, series_uid, sop_uid = texts
    original = Original(
        patient_id=patient_id,
        issuer=issuer,
        study_uid=RealUID(study_uid),
        series_uid=RealUID(series_uid),
        sop_uid=RealUID(sop_uid),
        study_date=date(year, month, day) if year else None,
    )
    return SealedRecord(received, pixels, profile, _LANES[lane], bool(countable), sender, original)
