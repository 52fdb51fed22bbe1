"""Settings of the hospital console: `[console]`, and who comes in by a certificate."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import StringConstraints, model_validator

from gateway.config.terms import Fingerprint, Port, Settings


class Certified(Settings):
    """A person who comes in by a client certificate instead of a password and a code."""

    name: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]{1,64}$")]
    role: Literal["steward", "reader"] = "reader"
    certificate_sha256: Fingerprint


class Console(Settings):
    """The hospital's pages: over TLS for its network, in the clear on this machine alone."""

    host: str = "127.0.0.1"
    port: Port = 8420  # not Orthanc's 8042
    certificate: Path | None = None  # PEM; set with `private_key`: HTTPS
    private_key: Path | None = None
    client_ca: Path | None = None  # who signs the certificates of `certified`
    certified: tuple[Certified, ...] = ()
    two_person: bool = False  # a job is approved when two stewards did

    @property
    def over_tls(self) -> bool:
        return self.certificate is not None

    @model_validator(mode="after")
    def _has_both_halves(self) -> Self:
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("`certificate` and `private_key` go together")
        if self.certified and (self.client_ca is None or self.certificate is None):
            raise ValueError("`certified` needs `client_ca`, `certificate` and `private_key`")
        return self

    @model_validator(mode="after")
    def _stays_on_this_machine(self) -> Self:
        """Send no session over a network in the clear."""
        if self.host == "localhost" or self.over_tls:
            return self
        try:
            loopback = ip_address(self.host).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise ValueError(
                f"`host` {self.host} is not this machine alone, and the pages are plain HTTP: "
                "set `certificate` and `private_key`, or leave 127.0.0.1"
            )
        return self
