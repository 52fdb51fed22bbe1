"""Associations we ask for: to a peer's address, over TLS where it wants that, or why not."""

import ssl
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association

from gateway.config import IntakeTls, Peer
from gateway.errors import ConfigurationFault, PeerUnreachable
from gateway.intake.sockets import tune


def call(
    ae: AE,
    peer: Peer,
    identity: IntakeTls | None,
    **negotiation: Any,  # noqa: ANN401 - pynetdicom's
) -> Association:
    """Return an established association; PeerUnreachable says how far we came.

    `identity` is the certificate we show to a peer that demands one.
    """
    if peer.host is None or peer.port is None:
        raise ConfigurationFault(f"peer `{peer.name}` has no host and port: add them to its entry")
    connected: list[object] = []
    watch = [
        (evt.EVT_CONN_OPEN, connected.append),
        (evt.EVT_CONN_OPEN, _hurry),
        *negotiation.pop("evt_handlers", ()),
    ]
    association = ae.associate(
        peer.host,
        peer.port,
        ae_title=peer.ae_title,
        tls_args=_tls(peer, identity),
        evt_handlers=watch,
        **negotiation,
    )
    if not association.is_established:
        raise PeerUnreachable(_why_not(peer, ae.ae_title, association, connected=bool(connected)))
    return association


def _hurry(event: evt.Event) -> None:
    """Send requests at once: with Nagle's algorithm a C-FIND takes 96 ms, without it 50."""
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        tune(transport.socket)


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
            f"{named(peer)} rejected the association ({reason}): check that it knows `{our_ae}` "
            f"and is called `{peer.ae_title}`"
        )
    if connected:
        return f"{named(peer)} took the connection but no association followed: is it DICOM?"
    tls = " over TLS" if peer.tls else ""
    return f"{named(peer)} cannot be reached{tls}: check host, port and firewall" + (
        ", and that `tls_ca` signed its certificate" if peer.tls else ""
    )


def named(peer: Peer) -> str:
    return f"`{peer.name}` ({peer.ae_title} at {peer.host}:{peer.port})"
