"""The sealed record: what identified an instance, encrypted, at fixed size, in its file meta.

It stands in Private Information (0002,0102) under the creator (0002,0100) (PS3.10 7.1), and is the
way back to the PACS, the duplicate check and the proof of origin. AES-256-GCM under the site's
sealing key; the pseudonymous SOP Instance UID is authenticated with it, so that a record fits no
other file.
"""

import hmac
import json
import secrets
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.poly1305 import Poly1305

from gateway.deid.facts import VERSIONS, DeidFacts
from gateway.errors import GatewayError, IntegrityFault
from gateway.keys import Ring
from gateway.model import Lane, Original

CREATOR_UID: Final = "2.25.289167334141858204666077306302599200505"
SIZE: Final = 2048
VERSION: Final = 1
NONCE_BYTES = 12
PLAIN_BYTES = SIZE - 1 - NONCE_BYTES - 16
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class CannotSeal(GatewayError):
    """An identifier is longer than any the standard allows."""

    def __init__(self) -> None:
        super().__init__(
            "an identifier of the instance is too long for its sealed record: "
            "correct it at the sender"
        )


@dataclass(frozen=True, slots=True)
class SealedRecord:
    """The facts stand here because a de-identified header no longer tells all of them."""

    received: str  # hex keyed digest of the dataset as received
    pixels: str  # hex keyed print of the Pixel Data value as received
    lane: Lane
    sender: str  # calling AE title
    original: Original
    facts: DeidFacts  # with the profile's digest and the true study year
    # Of the stored file up to its pixels, so that it can be proven sound: a keyed print of all but
    # this record, and how many bytes of the dataset that is.
    header_print: str = ""
    header_bytes: int = 0
    # Of the Pixel Data value as it is stored, where something beside its frames was blanked.
    stored_pixels: str = ""


class ReceivedPrint:
    """A keyed digest of what arrives: Poly1305 over the bytes, HMAC-SHA-256 over its tag.

    A third of the express lane's arithmetic was SHA-256. And a plain digest would let whoever holds
    the original find its row in the index.
    """

    __slots__ = ("_key", "_print", "update")

    def __init__(self, print_key: bytes, digest_key: bytes) -> None:
        self._key = digest_key
        self._print = Poly1305(print_key)
        self.update = self._print.update

    def digest(self) -> bytes:
        """Return 32 bytes, once; the tag itself is never shown, so that its key may serve again."""
        return hmac.digest(self._key, self._print.finalize(), "sha256")


class Seal:
    """Seals records under the newest key of the site, opens them under any.

    Prints are of the first key whatever comes after: they are compared across rotations.
    """

    def __init__(self, seal_key: bytes | Ring) -> None:
        ring = Ring.of(seal_key)
        self._cipher = AESGCM(ring.newest)
        self._others = tuple(map(AESGCM, ring.others))
        self._pixel_key = HKDFExpand(SHA256(), 32, b"radfed pixel print v1").derive(ring.first)
        self._header_key = HKDFExpand(SHA256(), 32, b"radfed header print v1").derive(ring.first)
        self._received_key = HKDFExpand(SHA256(), 64, b"radfed received print v1").derive(
            ring.first
        )

    def received_print(self) -> ReceivedPrint:
        """Begin a keyed digest of a dataset as it arrives."""
        return ReceivedPrint(self._received_key[:32], self._received_key[32:])

    def pixel_print(self) -> Poly1305:
        """Begin a keyed print of pixel bytes.

        Poly1305 costs a sixth of SHA-256 here. Its key may serve many prints because none is ever
        shown: they rest sealed, and only their equality is used (8 L / 2^106 for a false match).
        """
        return Poly1305(self._pixel_key)

    def header_print(self) -> Poly1305:
        """Begin a keyed print of a stored file's own header."""
        return Poly1305(self._header_key)

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
        for cipher in (self._cipher, *self._others):
            try:
                return _unpack(cipher.decrypt(nonce, body, _bound(pseudo_sop_uid)))
            except InvalidTag:
                continue
        raise IntegrityFault("a sealed record does not open: another key, or changed")


def _bound(pseudo_sop_uid: str) -> bytes:
    return b"radfed sealed record v1 " + pseudo_sop_uid.encode("ascii")


def _pack(record: SealedRecord) -> bytes:
    day = record.original.study_date
    fields = _fields(record)  # not asdict: its deep copies cost a tenth of a millisecond
    fields["facts"] = _fields(record.facts)
    for version in VERSIONS:  # a record has no room to say what nearly all would say
        if fields["facts"][version] == 1:
            del fields["facts"][version]
    if not record.stored_pixels:
        del fields["stored_pixels"]
    fields["original"] = _fields(record.original)
    fields["original"]["study_date"] = day.isoformat() if day else None
    plain = _encode(fields)
    raw = plain.encode("utf-8", "surrogatepass")
    if len(raw) > PLAIN_BYTES:
        raise CannotSeal
    return raw.ljust(PLAIN_BYTES)


def _fields(noun: SealedRecord | DeidFacts | Original) -> dict[str, Any]:
    return {name: getattr(noun, name) for name in noun.__slots__}


def _unpack(plain: bytes) -> SealedRecord:
    fields: dict[str, Any] = json.loads(plain.decode("utf-8", "surrogatepass"))
    original = fields["original"]
    day = original["study_date"]
    original["study_date"] = date.fromisoformat(day) if day else None
    return SealedRecord(
        received=fields["received"],
        pixels=fields["pixels"],
        lane=Lane(fields["lane"]),
        sender=fields["sender"],
        original=Original(**original),
        facts=DeidFacts(**fields["facts"]),
        header_print=fields.get("header_print", ""),  # absent in files of before
        header_bytes=fields.get("header_bytes", 0),
        stored_pixels=fields.get("stored_pixels", ""),
    )
