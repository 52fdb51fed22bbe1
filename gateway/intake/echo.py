"""C-ECHO to a peer: is it there, does it know us, does it answer (PS3.4 annex A)."""

import ssl
import time
from dataclasses import dataclass

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time

from gateway.config import IntakeTls, Peer
from gateway.errors import ConfigurationFault, PeerUnreachable


@dataclass(frozen=True, slots=True)
class EchoResult:
    """The peer answered."""

    status: int  # 0x0000: success
    seconds: float  # from request to response, the association not counted
    tls: bool


def echo(
    peer: Peer, our_ae: str, timeout: float = 10.0, identity: IntakeTls | None = None
) -> EchoResult:
    """Ask a peer for a sign of life; PeerUnreachable says how far we came.

    `identity` is the certificate we show to a peer that demands one.
    """
    if peer.host is None or peer.port is None:
        raise ConfigurationFault(f"peer `{peer.name}` has no host and port: add them to its entry")
    connected: list[object] = []
    ae = AE(our_ae)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = timeout
    ae.add_requested_context(Verification)
    association = ae.associate(
        peer.host,
        peer.port,
        ae_title=peer.ae_title,
        tls_args=_tls(peer, identity),
        evt_handlers=[(evt.EVT_CONN_OPEN, connected.append)],
    )
    if not association.is_established:
        raise PeerUnreachable(_why_not(peer, our_ae, association, connected=bool(connected)))
    try:
        started = time.monotonic()
        status = association.send_c_echo()
        seconds = time.monotonic() - started
    finally:
        association.release()
    if "Status" not in status:
        raise PeerUnreachable(f"{_named(peer)} took the association but did not answer C-ECHO")
    return EchoResult(int(status.Status), seconds, peer.tls)


def _tls(peer: Peer, identity: IntakeTls | None) -> tuple[ssl.SSLContext, str] | None:
    if not peer.tls or peer.host is None:
        return None
    try:
        context = ssl.create_default_context(cafile=peer.tls_ca)
        if identity is not None:
            context.load_cert_chain(identity.certificate, identity.private_key)
    except (OSError, ssl.SSLError) as fault:
        raise ConfigurationFault(
            f"the certificates for `{peer.name}` cannot be used: {fault}"
        ) from fault
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context, peer.host


def _why_not(peer: Peer, our_ae: str, association: Association, *, connected: bool) -> str:
    """Name the step that failed: connection, TLS, or the peer's own rules."""
    if association.is_rejected:
        answer = association.acceptor.primitive
        reason = answer.reason_str if answer is not None else "no reason given"
        return (
            f"{_named(peer)} rejected the association ({reason}): check that it knows `{our_ae}` "
            f"and is called `{peer.ae_title}`"
        )
    if connected:
        return f"{_named(peer)} took the connection but no association followed: is it DICOM?"
    tls = " over TLS" if peer.tls else ""
    return f"{_named(peer)} cannot be reached{tls}: check host, port and firewall" + (
        ", and that `tls_ca` signed its certificate" if peer.tls else ""
    )


def _named(peer: Peer) -> str:
    return f"`{peer.name}` ({peer.ae_title} at {peer.host}:{peer.port})"
