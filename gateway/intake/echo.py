"""C-ECHO to a peer: is it there, does it know us, does it answer (PS3.4 annex A)."""

import time
from dataclasses import dataclass

from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at run time

from gateway.config import IntakeTls, Peer
from gateway.errors import PeerUnreachable
from gateway.intake.calling import call, named


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
    ae = AE(our_ae)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = timeout
    ae.add_requested_context(Verification)
    association = call(ae, peer, identity)
    try:
        started = time.monotonic()
        status = association.send_c_echo()
        seconds = time.monotonic() - started
    finally:
        association.release()
    if "Status" not in status:
        raise PeerUnreachable(f"{named(peer)} took the association but did not answer C-ECHO")
    return EchoResult(int(status.Status), seconds, peer.tls)
