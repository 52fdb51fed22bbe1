"""What the index and the sealed record will know of an instance, read before it is rewritten."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from gateway.deid import dates, elements
from gateway.model import InstanceFacts, Original, Pseudonym, PseudoUID, RealUID
from protos import anatomy
from protos.vocabulary import MODALITIES, OTHER

US_BYTES = 2
SEXES = frozenset({"F", "M", "O"})
SPEAKING = (
    "ProtocolName",
    "SeriesDescription",
    "StudyDescription",
    "RequestedProcedureDescription",
    "PerformedProcedureStepDescription",
)
VERSIONS = ("pseudonym_version", "shift_version")
ANATOMY = ("AnatomicRegionSequence", "PrimaryAnatomicStructureSequence")


@dataclass(frozen=True, slots=True)
class DeidFacts:
    """All of InstanceFacts that de-identification knows; the store adds the rest."""

    sop_uid: PseudoUID
    series_uid: PseudoUID
    study_uid: PseudoUID
    patient: Pseudonym
    countable: bool
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    body_part: str
    sex: str
    age_years: int | None
    study_year: int | None
    manufacturer: str
    model: str
    slice_thickness_mm: float | None
    rows: int | None
    columns: int | None
    frames: int
    instance_number: int | None
    profile_digest: str
    # Of the subkeys its replacements are made with: a rotation brings them to the newest.
    pseudonym_version: int = 1
    shift_version: int = 1

    def stored(self, *, size_bytes: int, received_digest: str, path: str) -> InstanceFacts:
        """Complete the facts with where and how the instance lies in the store."""
        known = {name: getattr(self, name) for name in self.__slots__ if name not in VERSIONS}
        return InstanceFacts(
            **known, size_bytes=size_bytes, received_digest=received_digest, path=path
        )


class Header:
    """Reads single values from a dataset as it was sent, damaged ones as absent."""

    def __init__(self, dataset: Dataset, encodings: tuple[str, ...]) -> None:
        self._dataset = dataset
        self._encodings = encodings

    def text(self, keyword: str) -> str:
        tag = tag_for_keyword(keyword)
        assert tag is not None
        item = self._dataset._dict.get(BaseTag(tag))  # noqa: SLF001 - raw
        if item is None or item.VR in ("SQ", "OB", "OW"):
            return ""
        return elements.as_text(item, self._encodings).strip("\0 ")

    def first(self, keyword: str) -> str:
        return self.text(keyword).split("\\")[0].strip()

    def number(self, keyword: str) -> float | None:
        try:
            value = float(self.first(keyword))
        except ValueError:
            return None
        return value if value == value and abs(value) != float("inf") else None  # noqa: PLR0124 - NaN

    def count(self, keyword: str) -> int | None:
        """Read a US, UL or IS."""
        tag = tag_for_keyword(keyword)
        try:
            assert tag is not None
            value = self._dataset[tag].value if tag in self._dataset else None
            return int(value) if value not in (None, "") else None
        except Exception:  # noqa: BLE001 - pydicom raises anything; damaged counts as absent
            return None

    def small(self, keyword: str, absent: int = 0) -> int:
        """Read a US without decoding it where it stands; damaged counts as 0."""
        tag = tag_for_keyword(keyword)
        assert tag is not None
        item = self._dataset._dict.get(BaseTag(tag))  # noqa: SLF001 - raw
        if item is None:
            return absent
        value: object = item.value
        if isinstance(item, RawDataElement) and isinstance(value, bytes):
            fits = len(value) == US_BYTES and item.VR in (None, "US", "UN")
            order: Literal["little", "big"] = "little" if item.is_little_endian else "big"
            return int.from_bytes(value, order) if fits else 0
        return value if isinstance(value, int) else 0

    def meanings(self, keyword: str) -> Sequence[str]:
        """Read the code meanings in a sequence's items."""
        tag = tag_for_keyword(keyword)
        if tag is None or tag not in self._dataset:
            return ()
        return [
            Header(item, self._encodings).text("CodeMeaning")
            for item in elements.items(self._dataset, tag)
        ]


def original(header: Header) -> Original:
    return Original(
        patient_id=header.text("PatientID"),
        issuer=header.text("IssuerOfPatientID"),
        study_uid=RealUID(header.first("StudyInstanceUID")),
        series_uid=RealUID(header.first("SeriesInstanceUID")),
        sop_uid=RealUID(header.first("SOPInstanceUID")),
        study_date=_study_date(header),
    )


def gathered(
    header: Header, *, true: Original, pseudonym: Pseudonym, countable: bool, at_most: int
) -> dict[str, Any]:
    """Return the facts that a header holds and de-identification would change or hide."""
    modality = header.first("Modality").upper()
    texts = [header.text(keyword) for keyword in SPEAKING]
    meanings = [text for keyword in ANATOMY for text in header.meanings(keyword)]
    return {
        "patient": pseudonym,
        "countable": countable,
        "modality": modality if modality in MODALITIES else OTHER if modality else "",
        "body_part": anatomy.body_part(header.first("BodyPartExamined"), [*meanings, *texts]),
        "sex": sex if (sex := header.first("PatientSex").upper()[:1]) in SEXES else "",
        "age_years": _age(header, true.study_date, at_most),
        "study_year": true.study_date.year if true.study_date else None,
        "manufacturer": anatomy.manufacturer(header.first("Manufacturer")),
        "slice_thickness_mm": _positive(header.number("SliceThickness")),
        "rows": header.count("Rows"),
        "columns": header.count("Columns"),
        "frames": max(1, header.count("NumberOfFrames") or 1),
        "instance_number": header.count("InstanceNumber"),
    }


def _study_date(header: Header) -> date | None:
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        if found := dates.parse_date(header.first(keyword)):
            return found
    return None


def _age(header: Header, study: date | None, at_most: int) -> int | None:
    written = dates.age_in_years(header.first("PatientAge"))
    if written is None:
        birth = dates.parse_date(header.first("PatientBirthDate"))
        written = dates.age_between(birth, study) if birth and study else None
    return None if written is None else min(int(written), at_most)


def _positive(value: float | None) -> float | None:
    return value if value is not None and value > 0 else None
