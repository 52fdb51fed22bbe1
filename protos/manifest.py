"""The manifest: whose signatures count, and for which projects, in the word of the root."""

import json
from collections.abc import Iterable
from typing import Annotated, Literal, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic import model_validator as validated

from protos.root import NotOfTheRoot, sign_statement, verify_statement

STATEMENT = "manifest"
MANIFEST_BYTES = 1 << 20  # it travels in one message
SIGNERS_AT_MOST = 4000
PROJECTS_AT_MOST = 1000

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")]
PublicKey = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]  # Ed25519, raw, hex
Sentence = Annotated[
    str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f]+$")
]
Moment = Annotated[int, Field(ge=0, lt=1 << 40)]  # seconds since 1970, UTC
SignerRole = Literal["requester", "reviewer", "vendor"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Signer(_Part):
    """One person or firm whose signature counts, as what, and until when."""

    role: SignerRole
    name: Name
    organisation: Name
    public_key: PublicKey
    expires: Moment


class Project(_Part):
    """What work is for: every question and every job names one."""

    name: Name
    purpose: Sentence
    legal_basis: Sentence
    ethics: Sentence  # the committee's reference
    organisations: Annotated[tuple[Name, ...], Field(min_length=1, max_length=500)]
    hospitals: Annotated[tuple[Name, ...], Field(min_length=1, max_length=2000)]
    expires: Moment


class Manifest(_Part):
    federation: Name
    version: Annotated[int, Field(ge=1, lt=1 << 31)]
    not_before: Moment
    expires: Moment
    signers: Annotated[tuple[Signer, ...], Field(max_length=SIGNERS_AT_MOST)] = ()
    projects: Annotated[tuple[Project, ...], Field(max_length=PROJECTS_AT_MOST)] = ()

    @validated(mode="after")
    def _names_each_once(self) -> Self:
        if self.not_before >= self.expires:
            raise ValueError("it ends before it begins")
        _once("key", [signer.public_key for signer in self.signers])
        _once("signer", [f"{signer.role} {signer.name}" for signer in self.signers])
        _once("project", [project.name for project in self.projects])
        return self

    def signer(self, public_key: bytes) -> Signer | None:
        return next((s for s in self.signers if s.public_key == public_key.hex()), None)

    def project(self, name: str) -> Project | None:
        return next((p for p in self.projects if p.name == name), None)

    def is_current(self, now: float) -> bool:
        return self.not_before <= now < self.expires


def sign_manifest(manifest: Manifest, root_key: EllipticCurvePrivateKey) -> bytes:
    """Return the manifest as a file, signed; what no hospital would read is not signed."""
    signed = sign_statement(STATEMENT, manifest.model_dump(mode="json"), root_key)
    if len(signed) > MANIFEST_BYTES:
        raise ValueError(f"a manifest has at most {MANIFEST_BYTES} bytes")
    return signed


def read_manifest(raw: bytes, roots: Iterable[x509.Certificate]) -> Manifest:
    """Read a manifest that one of the roots signed; NotOfTheRoot for anything else."""
    if len(raw) > MANIFEST_BYTES:
        raise NotOfTheRoot(f"a manifest has at most {MANIFEST_BYTES} bytes")
    fields = verify_statement(STATEMENT, raw, roots)
    try:
        return Manifest.model_validate_json(json.dumps(fields))
    except ValidationError as fault:
        raise NotOfTheRoot("the root signed a manifest that cannot be read here") from fault


def _once(what: str, names: list[str]) -> None:
    if len(set(names)) < len(names):
        raise ValueError(f"a {what} stands in it twice")
