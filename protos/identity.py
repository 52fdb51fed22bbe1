"""Who is who on the wire: SPIFFE-style names in certificates, and the invitation token."""

import base64
import binascii
import json
import re
from dataclasses import dataclass
from enum import StrEnum

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
TOKEN_PREFIX = "radfed1."  # noqa: S105 - a format's name, not a secret


class Role(StrEnum):
    COORDINATOR = "coordinator"
    GATEWAY = "gateway"
    INVITATION = "invitation"  # may enrol, once, and nothing else
    OPERATOR = "operator"
    VENDOR = "vendor"
    REVIEWER = "reviewer"
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
        body = {
            "n": self.site_name,
            "a": self.address,
            "r": base64.b64encode(self.root_certificate_der).decode(),
            "c": base64.b64encode(self.certificate_der).decode(),
            "i": base64.b64encode(self.issuer_der).decode(),
            "k": base64.b64encode(self.private_key_der).decode(),
        }
        packed = json.dumps(body, separators=(",", ":")).encode()
        return TOKEN_PREFIX + base64.urlsafe_b64encode(packed).decode().rstrip("=")

    @classmethod
    def decode(cls, token: str) -> "Invitation":
        """Read a token; ValueError when it is damaged."""
        compact = "".join(token.split())
        if not compact.startswith(TOKEN_PREFIX):
            raise ValueError(f"an invitation token begins with {TOKEN_PREFIX}")
        text = compact.removeprefix(TOKEN_PREFIX)
        try:
            body = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            return cls(
                site_name=str(body["n"]),
                address=str(body["a"]),
                root_certificate_der=base64.b64decode(body["r"], validate=True),
                certificate_der=base64.b64decode(body["c"], validate=True),
                issuer_der=base64.b64decode(body["i"], validate=True),
                private_key_der=base64.b64decode(body["k"], validate=True),
            )
        except (binascii.Error, ValueError, KeyError, TypeError) as fault:
            raise ValueError("the invitation token is damaged: copy it once more") from fault
