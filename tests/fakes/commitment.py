"""Both sides of storage commitment: a house that grants it, and a modality that asks for it."""

import threading
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from socket import SHUT_RDWR

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from gateway.config import Intake, Peer
from gateway.intake.commitment_book import Book
from gateway.intake.commitment_delivery import deliver
from gateway.intake.commitment_proof import Proof
from gateway.intake.commitment_room import CommitmentRoom
from tests.fakes.archives import free_port
from tests.fakes.custody_house import House
from tests.fakes.receiver import a_receiver

SYNTAXES = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]
KEY = b"c" * 32
RELEASE_SECONDS = 20.0


@dataclass
class Heard:
    """One N-EVENT-REPORT as the modality understood it."""

    event_type: int
    transaction: str
    committed: list[str]
    failed: dict[str, int]
    on_new_association: bool


def action(references, transaction=None):
    dataset = Dataset()
    dataset.TransactionUID = transaction or generate_uid()
    dataset.ReferencedSOPSequence = []
    for sop_class, instance in references:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
        dataset.ReferencedSOPSequence.append(item)
    return dataset


@dataclass
class Modality:
    """pynetdicom as the one that asks (SCU), and that is called back."""

    port: int = field(default_factory=free_port)
    heard: list[Heard] = field(default_factory=list)
    status: int = 0x0000
    server: object = None
    roles: tuple[bool, bool] = (False, True)  # accepted of the caller's proposal: SCU, SCP

    @property
    def peer(self):
        return Peer(name="ct", ae_title="CT1", host="127.0.0.1", port=self.port, commitment=True)

    def _on_report(self, event):
        told = event.event_information
        self.heard.append(
            Heard(
                event.event_type,
                str(told.TransactionUID),
                [str(i.ReferencedSOPInstanceUID) for i in told.get("ReferencedSOPSequence", [])],
                {
                    str(i.ReferencedSOPInstanceUID): i.FailureReason
                    for i in told.get("FailedSOPSequence", [])
                },
                event.assoc.is_acceptor,
            )
        )
        return self.status, None

    def listen(self):
        ae = AE("CT1")
        scu, scp = self.roles
        ae.add_supported_context(StorageCommitmentPushModel, SYNTAXES, scu_role=scu, scp_role=scp)
        handlers = [(evt.EVT_N_EVENT_REPORT, self._on_report)]
        self.server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def hang_up(self):
        if self.server is not None:
            self.server.shutdown()
            self.server = None

    @contextmanager
    def association(self, port, syntaxes: Sequence[str] = SYNTAXES, datasets=()):
        ae = AE("CT1")
        ae.dimse_timeout = 10
        ae.add_requested_context(StorageCommitmentPushModel, syntaxes)
        for sop_class in {dataset.SOPClassUID for dataset in datasets}:
            ae.add_requested_context(sop_class, SYNTAXES[0])
        handlers = [(evt.EVT_N_EVENT_REPORT, self._on_report)]
        association = ae.associate("127.0.0.1", port, ae_title="RADFED", evt_handlers=handlers)
        assert association.is_established
        try:
            yield association
        finally:
            released(association)

    def ask(self, association, references, transaction=None, action_type=1, dataset=None):
        status, _ = association.send_n_action(
            dataset or action(references, transaction),
            action_type,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
        return status.get("Status")


def released(association) -> None:
    """Release it; hang up where pynetdicom cannot: a report that comes just then ends its reactor.

    Its `release` then waits for ever, for a thread that died of "Evt9 in Sta7".
    """
    releasing = threading.Thread(target=association.release, daemon=True)
    releasing.start()
    releasing.join(RELEASE_SECONDS)
    if releasing.is_alive():
        with suppress(AttributeError, OSError):  # gone with its reactor
            association.dul.socket.socket.shutdown(SHUT_RDWR)


class GrantingHouse(House):
    """A house whose commitment room runs beside its door."""

    @contextmanager
    def granting(self, *peers, room=True, **settings):
        config = Intake(host="127.0.0.1", port=0, peers=peers, processes=1)
        self.book = Book.open(self.base / "commitment.db", KEY)
        index, stop = self.index(), threading.Event()
        self.open_index = index
        proof = Proof(self.store, self.vault, index, lambda real: [self.engine.pseudo_uid(real)])
        self.room = CommitmentRoom(config, self.book, proof, deliver, self.trail)
        thread = threading.Thread(target=self.room.run, args=(stop,))
        with a_receiver(
            self.custody, peers=peers, commitments=Book.open(self.base / "commitment.db", KEY),
            **settings,
        ) as door:  # fmt: skip
            if room:
                thread.start()
            try:
                yield door
            finally:
                stop.set()
                if room:
                    thread.join(60)
                self.book.close()
                index.close()
