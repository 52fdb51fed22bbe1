"""Rejection notes: documents that say which instances must no longer be used (IHE RAD TF-2 4.66).

A Key Object Selection Document whose title is one of four codes of CID 7011 rejects what it
references. Its de-identified form says so as well: codes stay, and the UIDs it references are
replaced by the same pseudonyms as the instances' own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.errors import IntegrityFault
from gateway.model import PseudoUID

if TYPE_CHECKING:
    from pydicom.dataset import Dataset  # whoever only counts need not wait for pydicom

KEY_OBJECTS: Final = "1.2.840.10008.5.1.4.1.1.88.59"
TITLES: Final = {  # PS3.16 CID 7011
    "113001": "rejected for quality reasons",
    "113037": "rejected for patient safety reasons",
    "113038": "incorrect modality worklist entry",
    "113039": "data retention policy expired",
}


@dataclass(frozen=True, slots=True)
class Rejection:
    note: PseudoUID
    title: str  # the code
    rejected: frozenset[PseudoUID]


def rejection_in(document: "Dataset") -> Rejection | None:
    """Return what a key object document rejects; None where it selects for another reason."""
    title = next(iter(document.get("ConceptNameCodeSequence") or ()), None)
    if title is None:
        return None
    code = str(title.get("CodeValue", ""))
    if title.get("CodingSchemeDesignator") != "DCM" or code not in TITLES:
        return None
    return Rejection(PseudoUID(str(document.SOPInstanceUID)), code, frozenset(_named(document)))


def rejection_of(path: Path) -> Rejection | None:
    """Read a stored key object document; IntegrityFault when it cannot be read."""
    from pydicom import dcmread

    try:
        return rejection_in(dcmread(path))
    except OSError:
        raise
    except Exception as fault:
        raise IntegrityFault("a stored key object document cannot be read") from fault


def _named(document: "Dataset") -> Iterator[PseudoUID]:
    """Gather from the evidence (PS3.3 C.17.2.3) and from the content below the title (TID 2010)."""
    for study in document.get("CurrentRequestedProcedureEvidenceSequence") or ():
        for series in study.get("ReferencedSeriesSequence") or ():
            yield from _references(series)
    for item in document.get("ContentSequence") or ():
        yield from _references(item)


def _references(holder: "Dataset") -> Iterator[PseudoUID]:
    for instance in holder.get("ReferencedSOPSequence") or ():
        if uid := str(instance.get("ReferencedSOPInstanceUID", "")):
            yield PseudoUID(uid)
