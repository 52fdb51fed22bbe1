"""What the federation's offline root signs besides certificates: statements, and its successor."""

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protos.canonical import Value, canonical_bytes

ROOTS_AT_MOST = 8
SUCCESSION = "root-succession"


class NotOfTheRoot(ValueError):
    """No pinned root signed this."""


def fingerprint(root: x509.Certificate) -> str:
    """Return the pin of a root: SHA-256 of its public key (SPKI, DER), in hex."""
    key = root.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return sha256(key).hexdigest()


def read_roots(pem: bytes) -> list[x509.Certificate]:
    """Read pinned roots; ValueError where one cannot be a root of ours."""
    roots = x509.load_pem_x509_certificates(pem)
    if len(roots) > ROOTS_AT_MOST:
        raise ValueError(f"more than {ROOTS_AT_MOST} roots")
    for root in roots:
        require_root(root)
    return roots


def require_root(root: x509.Certificate) -> None:
    """Refuse what is not a self-signed authority over a P-256 key (RFC 5280 4.2.1.9)."""
    key = root.public_key()
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise ValueError("a root's key is on the curve P-256")  # noqa: TRY004 - a file's content
    try:
        root.verify_directly_issued_by(root)
        constraints = root.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (InvalidSignature, x509.ExtensionNotFound, TypeError, ValueError) as fault:
        raise ValueError("this certificate is no root") from fault
    if not constraints.ca:
        raise ValueError("this certificate is no root")


def sign_statement(
    statement: str, fields: Mapping[str, Value], key: EllipticCurvePrivateKey
) -> bytes:
    """Return a signed statement as a file: its fields in the clear, and the signature."""
    signature = key.sign(canonical_bytes(statement, fields), ECDSA(SHA256()))
    document = {statement: fields, "signature": signature.hex()}
    return json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True).encode() + b"\n"


def verify_statement(
    statement: str, raw: bytes, roots: Iterable[x509.Certificate]
) -> Mapping[str, Any]:
    """Return a statement's fields; NotOfTheRoot unless one of the roots signed exactly these.

    What is checked are the canonical bytes of what was read, so nobody can hide a second reading
    in white space, order or repeated keys.
    """
    try:
        document = json.loads(raw)
        fields, signature = document[statement], bytes.fromhex(document["signature"])
        signed = canonical_bytes(statement, fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as fault:
        raise NotOfTheRoot(f"this is not a signed {statement}") from fault
    if any(_signed_by(root, signature, signed) for root in roots):
        found: Mapping[str, Any] = fields
        return found
    raise NotOfTheRoot(f"no pinned root signed this {statement}")


def succession(old: EllipticCurvePrivateKey, federation: str, new: x509.Certificate) -> bytes:
    """Let a root name its successor: who pinned the one may pin the other."""
    fields = {"federation": federation, "root": new.public_bytes(Encoding.DER).hex()}
    return sign_statement(SUCCESSION, fields, old)


def read_succession(raw: bytes, roots: Iterable[x509.Certificate]) -> tuple[str, x509.Certificate]:
    """Return the federation and its new root, named by one that is pinned."""
    fields = verify_statement(SUCCESSION, raw, roots)
    try:
        new = x509.load_der_x509_certificate(bytes.fromhex(fields["root"]))
        require_root(new)
        return str(fields["federation"]), new
    except (ValueError, KeyError, TypeError) as fault:
        raise NotOfTheRoot("the successor named here is no root") from fault


def _signed_by(root: x509.Certificate, signature: bytes, signed: bytes) -> bool:
    key = root.public_key()
    if not isinstance(key, EllipticCurvePublicKey):
        return False
    try:
        key.verify(signature, signed, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True
