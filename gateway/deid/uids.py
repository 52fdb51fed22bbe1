"""Keyed replacements: the same tomorrow, the same across references, meaningless elsewhere.

A key that was rotated has several versions. What the first made of an original, each later one
replaces again: so the stored replacement is brought to a new version without its original, and an
arrival comes to the same.
"""

import hmac
import re
import unicodedata
import uuid
from base64 import b32encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pydicom._uid_dict import UID_dictionary

from gateway.model import Original, Pseudonym, PseudoUID

# What modalities and clerks write where they know no patient; a patient of that ID is nobody.
_NOBODY = """
UNKNOWN UNKNOWNID NONE NULL NIL NA N/A NOID NOPID NOPATIENTID ANON ANONYMOUS ANONYMIZED TEST
DEFAULT PATIENT PATIENTID ID PID TEMP DUMMY PHANTOM QA QC UNDEFINED UNIDENTIFIED UNSPECIFIED
NOTAVAILABLE EMERGENCY TRAUMA 无 未知 不详 匿名 无名氏 急诊 测试
"""
PLACEHOLDERS = frozenset(_NOBODY.split())
REPEATED = re.compile(r"(.)\1*")
COUNTING = frozenset({"123", "1234", "12345", "123456", "1234567", "12345678", "123456789"})


Keys = bytes | tuple[bytes, ...]  # one version, or all there were, the first first


def versions(keys: Keys) -> tuple[bytes, ...]:
    return keys if isinstance(keys, tuple) else (keys,)


def numbers(pseudonym_keys: Keys, shift_keys: Keys) -> dict[str, Any]:
    """Say for a sealed record which versions something was replaced under."""
    return {
        "pseudonym_version": len(versions(pseudonym_keys)),
        "shift_version": len(versions(shift_keys)),
    }


@dataclass(frozen=True, slots=True)
class Named:
    """What one instance's patient is called."""

    root: Pseudonym  # under the first version for ever: what the date shift is drawn by
    pseudonym: Pseudonym
    countable: bool


def named(true: Original, keys: Keys) -> Named:
    """Name the patient of an instance; a placeholder ID makes a patient of each study."""
    first, *later = versions(keys)
    countable = not is_placeholder(true.patient_id)
    root = (
        pseudonym(true.patient_id, true.issuer, first)
        if countable
        else study_pseudonym(true.study_uid, first)
    )
    return Named(root, renamed(root, tuple(later)), countable)


def renamed(old: Pseudonym, later: tuple[bytes, ...]) -> Pseudonym:
    """Bring a patient's pseudonym through the versions that came after its own."""
    return Pseudonym(rekeyed("again", old, later))


def remapped(old: PseudoUID, later: tuple[bytes, ...]) -> PseudoUID:
    """Bring a pseudonymous UID through the versions that came after its own."""
    for key in later:
        old = _uid(old, key)
    return old


def rekeyed(kind: str, old: str, later: tuple[bytes, ...]) -> str:
    """Bring a text that stands for an identifier through the versions after its own."""
    for key in later:
        old = _keyed(key, kind, old)
    return old


def pseudo_uid(uid: str, keys: Keys) -> PseudoUID:
    """Map a UID to its stable replacement under the site key.

    UUID-derived, under the 2.25 root (PS3.5 B.2). A keyed digest rather than a
    table keeps references intact (PS3.15 E.1, action U) even when the
    instances arrive years apart.
    """
    if isinstance(keys, bytes):
        return _uid(uid, keys)
    return remapped(_uid(uid, keys[0]), keys[1:])


def _uid(uid: str, key: bytes) -> PseudoUID:
    digest = hmac.digest(key, uid.strip("\0 ").encode("utf-8", "surrogateescape"), sha256)
    return PseudoUID(f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}")


def is_well_known(uid: str) -> bool:
    """Tell a UID the standard itself registers (a class, a syntax, an atlas): it names nobody."""
    return uid in UID_dictionary


def canonical_id(patient_id: str) -> str:
    """Return a patient ID as the hospital's systems mean it: width, case and spaces set aside."""
    return "".join(unicodedata.normalize("NFKC", patient_id).replace("\0", "").split()).upper()


def is_placeholder(patient_id: str) -> bool:
    """Tell an ID that stands for no one: empty, one repeated character, `UNKNOWN` and its kin."""
    bare = re.sub(r"[-_.^*?#]", "", canonical_id(patient_id))
    return (
        not bare or bare in PLACEHOLDERS or bare in COUNTING or REPEATED.fullmatch(bare) is not None
    )


def pseudonym(patient_id: str, issuer: str, keys: Keys) -> Pseudonym:
    """Return a patient's pseudonym: a patient is an issuer and an ID in canonical form."""
    first, *later = versions(keys)
    name = _keyed(first, "patient", canonical_id(issuer), canonical_id(patient_id))
    return renamed(Pseudonym(name), tuple(later))


def study_pseudonym(study_uid: str, key: bytes) -> Pseudonym:
    """Return the pseudonym of a study whose patient is a placeholder."""
    return Pseudonym(_keyed(key, "study", study_uid.strip("\0 ")))


def keyed_text(kind: str, value: str, keys: Keys) -> str:
    """Return 16 characters that stand for an identifier (it fits VR SH)."""
    first, *later = versions(keys)
    return rekeyed(kind, _keyed(first, kind, value), tuple(later))


def _keyed(key: bytes, *parts: str) -> str:
    """80 bits, base 32: `P` and 15 characters would read as a word too rarely to matter."""
    message = b"\0".join(part.encode("utf-8", "surrogateescape") for part in parts)
    return b32encode(hmac.digest(key, message, sha256)[:10]).decode()
