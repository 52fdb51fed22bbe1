"""Who is who on the wire: SPIFFE-style names in certificates, and the invitation token."""

import base64
import re
import struct
import zlib
from dataclasses import dataclass
from enum import StrEnum

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
TOKEN_PREFIX = "radfed1."  # noqa: S105 - a format's name, not a secret
TOKEN_BYTES = 16 << 10


class Role(StrEnum):
    COORDINATOR = "coordinator"
    GATEWAY = "gateway"
    INVITATION = "invitation"  # may enrol, once, and nothing else
    RENEWAL = "renewal"  # may renew a gateway's certificate, and nothing else
    OPERATOR = "operator"
    VENDOR = "vendor"
    REVIEWER = "reviewer"
    REQUESTER = "requester"
    AUDITOR = "auditor"


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate's subject: the URI SAN `spiffe://FEDERATION/ROLE/NAME`."""

    federation: str
    role: Role
    name: str

    def __post_init__(self) -> None:
        for part in (self.federation, self.name):
            if not NAME.fullmatch(part):
                raise ValueError("a name is 1-63 lower-case letters, digits and inner hyphens")

    @property
    def uri(self) -> str:
        return f"spiffe://{self.federation}/{self.role}/{self.name}"

    @classmethod
    def parse(cls, uri: str) -> "Identity":
        """Read a SPIFFE-style URI; ValueError when it is not one of ours."""
        scheme, separator, rest = uri.partition("://")
        parts = rest.split("/")
        if scheme != "spiffe" or not separator or len(parts) != 3:  # noqa: PLR2004 - FEDERATION/ROLE/NAME
            raise ValueError("not a radfed identity")
        return cls(parts[0], Role(parts[1]), parts[2])


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a hospital needs to enrol, in one token.

    The token carries a short-lived client certificate of its own, so that enrolment happens behind
    the same mutual TLS and on the same port as all else; and the federation's root, so that the
    hospital can tell the coordinator from an impostor at the first contact.
    """

    site_name: str
    address: str  # host:port
    root_certificate_der: bytes
    certificate_der: bytes
    issuer_der: bytes  # the intermediate that signed `certificate_der`
    private_key_der: bytes  # PKCS #8

    def encode(self) -> str:
        fields = (
            self.site_name.encode(),
            self.address.encode(),
            self.root_certificate_der,
            self.certificate_der,
            self.issuer_der,
            self.private_key_der,
        )
        packed = zlib.compress(b"".join(struct.pack(">H", len(f)) + f for f in fields), 9)
        return TOKEN_PREFIX + base64.urlsafe_b64encode(packed).decode().rstrip("=")

    @classmethod
    def decode(cls, token: str) -> "Invitation":
        """Read a token; ValueError when it is damaged."""
        compact = "".join(token.split())
        if not compact.startswith(TOKEN_PREFIX):
            raise ValueError(f"an invitation token begins with {TOKEN_PREFIX}")
        text = compact.removeprefix(TOKEN_PREFIX)
        try:
            packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            name, address, *certificates = _fields(packed)
            return cls(name.decode(), address.decode(), *certificates)
        except (ValueError, TypeError, struct.error, zlib.error) as fault:
            raise ValueError("the invitation token is damaged: copy it once more") from fault


def _fields(packed: bytes) -> list[bytes]:
    unpacker = zlib.decompressobj()
    body = unpacker.decompress(packed, TOKEN_BYTES)  # a token is small, whatever it claims
    if not unpacker.eof:
        raise ValueError("cut short")
    found = []
    while body:
        (length,) = struct.unpack_from(">H", body)
        if len(body) < 2 + length:
            raise ValueError("cut short")
        found.append(body[2 : 2 + length])
        body = body[2 + length :]
    return found
