"""Reports on an association of our own: N-EVENT-REPORT to the peer's host and port (PS3.4 J.3.3).

We ask for the association, and are the SCP on it all the same: role selection says so (PS3.7
D.3.3.4). A peer that answers no role is told nonetheless: many accept the context and leave it out.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from pynetdicom import AE, build_role
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    StorageCommitmentPushModel,
)

from gateway.config import Intake, Peer
from gateway.intake.calling import call
from gateway.intake.commitment import Report, event_information
from gateway.intake.rules import COMMITMENT_INSTANCE, LITTLE_ENDIAN

CONNECT_SECONDS: Final = 10.0
ANSWER_SECONDS: Final = 30.0


def deliver(
    config: Intake, peer: Peer, reports: Sequence[Report]
) -> Iterator[tuple[Report, int | None]]:
    """Send reports over one association; yield each with its status, None where none came.

    PeerUnreachable says why there was no association.
    """
    ae = AE(config.ae_title)
    ae.connection_timeout = ae.acse_timeout = CONNECT_SECONDS
    ae.dimse_timeout = ae.network_timeout = ANSWER_SECONDS
    syntaxes = sorted((uid.decode() for uid in LITTLE_ENDIAN), reverse=True)
    ae.add_requested_context(StorageCommitmentPushModel, syntaxes)
    role = build_role(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    identity = config.tls if peer.tls else None
    association = call(ae, peer, identity, ext_neg=[role])
    try:
        for number, report in enumerate(reports, 1):
            yield report, _send(association, report, number)
    finally:
        if association.is_established:
            association.release()


def _send(association: Association, report: Report, message_id: int) -> int | None:
    if not association.is_established:
        return None
    status, _reply = association.send_n_event_report(
        event_information(report),
        report.event_type,
        StorageCommitmentPushModel,
        COMMITMENT_INSTANCE.decode(),
        message_id % 0xFFFF,
    )
    return int(status.Status) if "Status" in status else None
