"""C-GET: the series comes back on the association we asked on, and goes into custody as it is.

pynetdicom collects one dataset in memory; its bytes are handed over undecoded, so what custody sees
is what the PACS sent.
"""

from collections.abc import Iterable
from io import BytesIO
from typing import Final

from pynetdicom import build_role
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import EVT_C_STORE, Event
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    CTImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalXRayImageStorageForPresentation,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    StudyRootQueryRetrieveInformationModelGet,
)

from gateway.errors import PeerUnreachable, ReserveReached
from gateway.intake.calling import call
from gateway.intake.custody import Custody
from gateway.intake.dimse import Status, is_uid
from gateway.intake.fetch_pacs import (
    AssociationLost,
    FoundSeries,
    Pacs,
    QueryRefused,
    final_outcome,
    new_ae,
    noticing_loss,
    series_keys,
)
from gateway.intake.fetch_rules import MOVE_DESTINATION_UNKNOWN, Outcome
from gateway.intake.rules import VERDICTS
from gateway.model import Arrival, RealUID

CHUNK_BYTES: Final = 1 << 20
CONTEXTS_AT_MOST: Final = 128  # PS3.8 9.3.2.2: odd IDs of one byte
MODEL: Final = StudyRootQueryRetrieveInformationModelGet
NO_GET: Final = Outcome(MOVE_DESTINATION_UNKNOWN, 0, 0)
UNCOMPRESSED: Final = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]
# Each in a context of its own: the PACS picks the one its file is in, and need not transcode.
COMPRESSED: Final = (
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, first-order prediction
    "1.2.840.10008.1.2.4.90",  # JPEG 2000, lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.80",  # JPEG-LS, lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS, near-lossless
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline
    "1.2.840.10008.1.2.4.51",  # JPEG Extended
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.201",  # High-Throughput JPEG 2000, lossless
    "1.2.840.10008.1.2.4.203",  # High-Throughput JPEG 2000
)
# Where the PACS does not say what a series holds.
USUAL_CLASSES: Final = (
    CTImageStorage,
    MRImageStorage,
    EnhancedCTImageStorage,
    EnhancedMRImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForPresentation,
    PositronEmissionTomographyImageStorage,
)


class Getter:
    """Retrieves series by C-GET, on an association that has contexts for what they hold."""

    def __init__(self, pacs: Pacs, custody: Custody) -> None:
        self._pacs = pacs
        self._custody = custody
        self._association: Association | None = None
        self._classes: frozenset[str] = frozenset()
        self._full: ReserveReached | None = None
        self._taken = 0

    def hang_up(self) -> None:
        association, self._association = self._association, None
        if association is not None and association.is_established:
            association.release()

    def get(self, series: FoundSeries) -> Outcome:
        association = self._established(self._classes_of(series))
        if association is None or not any(
            context.abstract_syntax == MODEL for context in association.accepted_contexts
        ):
            return NO_GET
        self._taken = 0
        try:
            with noticing_loss(self._pacs.peer):
                responses = association.send_c_get(series_keys(series), MODEL)
                outcome = final_outcome(self._pacs.peer, responses)
        except AssociationLost:
            if self._taken:
                raise
            return NO_GET  # Orthanc hangs up on those it does not let get
        if self._full is not None:
            raise self._full
        return outcome

    def _classes_of(self, series: FoundSeries) -> frozenset[str]:
        try:
            return self._pacs.sop_classes(series) or frozenset(USUAL_CLASSES)
        except QueryRefused:
            return frozenset(USUAL_CLASSES)

    def _established(self, classes: frozenset[str]) -> Association | None:
        """Return an association for these classes; None where the PACS takes none of this."""
        known = self._association
        if known is not None and known.is_established and classes <= self._classes:
            return known
        self.hang_up()
        try:
            self._association = self._call(classes)
        except PeerUnreachable:
            return None  # it answered a query a moment ago: it is C-GET that it does not do
        self._classes = classes
        return self._association

    def _call(self, classes: frozenset[str]) -> Association:
        return call(
            new_ae(self._pacs.our_ae),
            self._pacs.peer,
            self._pacs.identity,
            contexts=_contexts(classes),
            ext_neg=[build_role(uid, scp_role=True) for uid in sorted(classes)],
            evt_handlers=[(EVT_C_STORE, self._take)],
        )

    def _take(self, event: Event) -> int:
        """Give one instance to custody; every fault becomes a status (PS3.4 B.2.3)."""
        try:
            return int(self._keep(event))
        except ReserveReached as fault:
            self._full = fault
            return int(Status.OUT_OF_RESOURCES)
        except OSError:
            return int(Status.OUT_OF_RESOURCES)
        except Exception:  # noqa: BLE001 - a door: pynetdicom would log the exception's text
            return int(Status.PROCESSING_FAILURE)

    def _keep(self, event: Event) -> Status:
        request, context = event.request, event.context
        assert isinstance(request, C_STORE)
        assert isinstance(request.DataSet, BytesIO)
        if not is_uid(str(request.AffectedSOPInstanceUID).encode("ascii", "replace")):
            return Status.INVALID_SOP_INSTANCE
        arrival = Arrival(
            str(context.abstract_syntax),
            RealUID(str(request.AffectedSOPInstanceUID)),
            str(context.transfer_syntax),
            self._pacs.peer.ae_title,
            self._pacs.our_ae,
        )
        incoming = self._custody.begin(arrival)
        try:
            dataset = request.DataSet.getbuffer()
            for start in range(0, len(dataset), CHUNK_BYTES):
                incoming.write(dataset[start : start + CHUNK_BYTES])
            verdict = incoming.commit()
        finally:
            incoming.abort()  # does nothing after a commit
        self._taken += 1
        return VERDICTS[str(verdict.kind)]


def _contexts(classes: Iterable[str]) -> list[PresentationContext]:
    """Propose every class uncompressed, then as many compressed ones as there is room for."""
    wanted = sorted(classes)[: CONTEXTS_AT_MOST - 1]
    offered = [build_context(MODEL), *(build_context(uid, UNCOMPRESSED) for uid in wanted)]
    offered += [build_context(uid, syntax) for syntax in COMPRESSED for uid in wanted]
    return offered[:CONTEXTS_AT_MOST]
