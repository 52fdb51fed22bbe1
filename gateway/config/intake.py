"""Settings of the DICOM door: `[intake]`, its TLS, and who may call."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from gateway.config.terms import AETitle, Fingerprint, Network, Port, Settings, SiteName, Uid


class IntakeTls(Settings):
    """DICOM over TLS 1.2 or 1.3 on a port of its own (PS3.15 B.9, BCP 195)."""

    port: Port = 2762
    certificate: Path
    private_key: Path
    client_ca: Path | None = None  # set: a client certificate is demanded
    # Of every caller, or only of peers that have `certificate_sha256`.
    client_certificates: Literal["required", "optional"] = "required"


class Peer(Settings):
    """One DICOM application entity of the hospital."""

    name: SiteName
    ae_title: AETitle
    host: str | None = None  # needed for echo and fetch
    port: Port | None = None
    tls: bool = False
    tls_ca: Path | None = None
    addresses: tuple[Network, ...] = ()  # where it may call from; empty: anywhere
    may_store: bool = True
    # It may ask for a receipt of what it sent (PS3.4 annex J): of a de-identified copy.
    commitment: bool = False
    certificate_sha256: tuple[Fingerprint, ...] = ()  # it must show one of these certificates

    @model_validator(mode="after")
    def _can_be_reported_to(self) -> Self:
        if self.commitment and (self.host is None or not self.port):
            raise ValueError("`commitment` needs `host` and `port`: reports are sent there")
        return self


class Intake(Settings):
    ae_title: AETitle = "RADFED"
    host: str = "0.0.0.0"  # noqa: S104 - a modality calls from another machine
    port: Port | None = 11112  # absent: DICOM over TLS only
    tls: IntakeTls | None = None
    peers: tuple[Peer, ...] = ()  # nobody may call until the site names somebody
    processes: Annotated[int, Field(ge=1, le=64)] = 2
    max_associations: Annotated[int, Field(ge=1)] = 256
    max_associations_per_peer: Annotated[int, Field(ge=1)] = 32
    max_pdu_bytes: Annotated[int, Field(ge=4096, le=16 << 20)] = 1 << 20
    first_pdu_seconds: Annotated[float, Field(gt=0)] = 5.0
    idle_seconds: Annotated[float, Field(gt=0)] = 900.0  # a modality may pause ten minutes
    header_limit_bytes: Annotated[int, Field(ge=65536)] = (
        8 << 20
    )  # a longer header goes to the vault
    # What all associations of one process may hold of headers; past it the vault takes them.
    header_memory_bytes: Annotated[int, Field(ge=65536)] = 6 << 20
    private_sop_classes: tuple[Uid, ...] = ()  # taken beside those of the standard
    private_transfer_syntaxes: tuple[Uid, ...] = ()
    stop_grace_seconds: Annotated[float, Field(ge=0)] = 10.0  # a running C-STORE may finish

    @model_validator(mode="before")
    @classmethod
    def _tls_alone(cls, told: Any) -> Any:  # noqa: ANN401 - whatever the file says
        """Open no plain port where TLS stands alone: TOML has no word for none."""
        if isinstance(told, dict) and told.get("tls") is not None and "port" not in told:
            return told | {"port": None}
        return told

    @model_validator(mode="after")
    def _pins_can_be_met(self) -> Self:
        """Ask for no certificate that TLS could not verify."""
        pinned = [peer.name for peer in self.peers if peer.certificate_sha256]
        if pinned and (self.tls is None or self.tls.client_ca is None):
            raise ValueError(
                f"`certificate_sha256` of `{pinned[0]}` needs `client_ca` under [intake.tls]: "
                "the authority that signed it, or the certificate itself if it is self-signed"
            )
        return self
