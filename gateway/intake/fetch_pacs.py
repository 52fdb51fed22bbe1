"""A PACS as we ask it: C-FIND, C-MOVE to ourselves, C-GET (PS3.4 annex C), with pynetdicom as SCU.

No identifier we send or ask for names a patient: UIDs, dates, modalities and counts only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Self

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelMove,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
)

from gateway.config import GatewayConfig, IntakeTls, Peer
from gateway.errors import GatewayError, PeerUnreachable
from gateway.intake.calling import call, named
from gateway.intake.fetch_rules import MOVE_DESTINATION_UNKNOWN, OUT_OF_RESOURCES, Outcome
from gateway.model import RealUID

ANSWER_SECONDS: Final = 900.0  # an archive may fetch a tape before its next response
CONNECT_SECONDS: Final = 30.0
PENDING: Final = frozenset({0xFF00, 0xFF01})
FIND_MODELS: Final = (
    StudyRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelFind,
)
MOVE_MODELS: Final = (
    StudyRootQueryRetrieveInformationModelMove,
    PatientRootQueryRetrieveInformationModelMove,
)
NO_MOVE: Final = Outcome(MOVE_DESTINATION_UNKNOWN, 0, 0)


class AssociationLost(PeerUnreachable):
    """The PACS stopped answering in the middle; asking again later is right."""


class QueryRefused(GatewayError):
    """The PACS answered a C-FIND with a failure."""

    def __init__(self, peer: Peer, status: int) -> None:
        super().__init__(f"{named(peer)} refused a query with status 0x{status:04X}")
        self.too_many = status == OUT_OF_RESOURCES


@dataclass(frozen=True, slots=True)
class FoundStudy:
    uid: RealUID
    instances: int | None


@dataclass(frozen=True, slots=True)
class FoundSeries:
    study_uid: RealUID
    uid: RealUID
    modality: str
    instances: int | None


class Pacs:
    """One association for queries and moves, opened when first needed and again when lost."""

    def __init__(self, config: GatewayConfig, peer: Peer) -> None:
        self.peer = peer
        self.our_ae = config.intake.ae_title
        self.identity: IntakeTls | None = config.intake.tls if peer.tls else None
        self._association: Association | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        association, self._association = self._association, None
        if association is not None and association.is_established:
            association.release()

    def studies(self, day: date, modality: str, times: str = "") -> list[FoundStudy]:
        """Ask for the studies of a day; an SCP may ignore the modality (PS3.4 C.2.2.2.6)."""
        keys = Dataset()
        keys.QueryRetrieveLevel = "STUDY"
        keys.StudyDate = f"{day:%Y%m%d}"
        keys.StudyTime = times
        keys.StudyInstanceUID = ""
        keys.ModalitiesInStudy = modality
        keys.NumberOfStudyRelatedInstances = ""
        return [
            FoundStudy(
                RealUID(str(found.StudyInstanceUID)),
                _count(found, "NumberOfStudyRelatedInstances"),
            )
            for found in self._find(keys)
            if found.get("StudyInstanceUID")
        ]

    def series(self, study: FoundStudy) -> list[FoundSeries]:
        keys = Dataset()
        keys.QueryRetrieveLevel = "SERIES"
        keys.StudyInstanceUID = study.uid
        keys.SeriesInstanceUID = ""
        keys.Modality = ""
        keys.NumberOfSeriesRelatedInstances = ""
        return [
            FoundSeries(
                study.uid,
                RealUID(str(found.SeriesInstanceUID)),
                str(found.get("Modality", "")),
                _count(found, "NumberOfSeriesRelatedInstances"),
            )
            for found in self._find(keys)
            if found.get("SeriesInstanceUID")
        ]

    def sop_classes(self, series: FoundSeries) -> frozenset[str]:
        """Ask which SOP classes a series holds; empty where the PACS does not say."""
        keys = series_keys(series)
        keys.QueryRetrieveLevel = "IMAGE"
        keys.SOPInstanceUID = ""
        keys.SOPClassUID = ""
        return frozenset(str(found.get("SOPClassUID", "")) for found in self._find(keys)) - {""}

    def move(self, series: FoundSeries) -> Outcome:
        """Have a series sent to our own AE title (PS3.4 C.4.2)."""
        association = self._established()
        model = _accepted(association, MOVE_MODELS)
        if model is None:
            return NO_MOVE
        with noticing_loss(self.peer):
            responses = association.send_c_move(series_keys(series), self.our_ae, model)
            return final_outcome(self.peer, responses)

    def _find(self, keys: Dataset) -> Iterator[Dataset]:
        association = self._established()
        model = _accepted(association, FIND_MODELS)
        if model is None:
            raise PeerUnreachable(f"{named(self.peer)} answers no queries (C-FIND) from us")
        with noticing_loss(self.peer):
            for status, found in association.send_c_find(keys, model):
                code = status_of(self.peer, status)
                if code in PENDING:
                    if found is not None:
                        yield found
                elif code:
                    raise QueryRefused(self.peer, code)

    def _established(self) -> Association:
        if self._association is None or not self._association.is_established:
            ae = new_ae(self.our_ae)
            for model in (*FIND_MODELS, *MOVE_MODELS):
                ae.add_requested_context(model)
            self._association = call(ae, self.peer, self.identity)
        return self._association


@contextmanager
def noticing_loss(peer: Peer) -> Iterator[None]:
    """Name what pynetdicom raises when the association ends just before a request."""
    try:
        yield
    except RuntimeError as fault:
        raise AssociationLost(f"{named(peer)} stopped answering") from fault


def new_ae(our_ae: str) -> AE:
    ae = AE(our_ae)
    ae.connection_timeout = ae.acse_timeout = CONNECT_SECONDS
    ae.dimse_timeout = ae.network_timeout = ANSWER_SECONDS
    ae.maximum_pdu_size = 1 << 20
    return ae


def status_of(peer: Peer, status: Dataset) -> int:
    """Return a response's status; without one the association is gone."""
    if "Status" not in status:
        raise AssociationLost(f"{named(peer)} stopped answering")
    return int(status.Status)


def final_outcome(peer: Peer, responses: Iterator[Any]) -> Outcome:
    """Read a retrieval to its last response."""
    for status, _failed in responses:
        code = status_of(peer, status)
        if code in PENDING:
            continue
        completed = _count(status, "NumberOfCompletedSuboperations") or 0
        warned = _count(status, "NumberOfWarningSuboperations") or 0
        failed = _count(status, "NumberOfFailedSuboperations") or 0
        return Outcome(code, completed + warned, failed)
    raise AssociationLost(f"{named(peer)} stopped answering")


def series_keys(series: FoundSeries) -> Dataset:
    keys = Dataset()
    keys.QueryRetrieveLevel = "SERIES"
    keys.StudyInstanceUID = series.study_uid
    keys.SeriesInstanceUID = series.uid
    return keys


def _accepted(association: Association, models: tuple[str, ...]) -> str | None:
    accepted = {context.abstract_syntax for context in association.accepted_contexts}
    return next((model for model in models if model in accepted), None)


def _count(found: Dataset, keyword: str) -> int | None:
    try:
        return int(found.get(keyword))
    except (TypeError, ValueError):
        return None
