"""What the index holds of one stored file, read from the file and its sealed record."""

from contextlib import suppress
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from gateway.errors import IntegrityFault
from gateway.model import InstanceFacts, Pseudonym, PseudoUID
from gateway.store.files import Names
from gateway.store.sealed import SealedRecord
from protos.vocabulary import MANUFACTURERS

OLDEST_SHOWN = 89  # the tail of the age distribution identifies
TAGS = [
    "PatientID", "PatientSex", "PatientAge", "StudyInstanceUID", "SeriesInstanceUID",
    "SOPInstanceUID", "SOPClassUID", "Modality", "BodyPartExamined", "Manufacturer",
    "ManufacturerModelName", "SliceThickness", "Rows", "Columns", "NumberOfFrames",
    "InstanceNumber",
]  # fmt: skip


def read_dataset(path: Path) -> Dataset:
    """Read the elements facts are made of."""
    try:
        return dcmread(path, stop_before_pixels=True, specific_tags=TAGS)
    except FileNotFoundError:
        raise
    except Exception as fault:  # pydicom raises many kinds on bytes that are not what we wrote
        raise IntegrityFault(f"stored file {path.name} cannot be read") from fault


def names_of(dataset: Dataset) -> Names:
    return Names(
        study=PseudoUID(_text(dataset, "StudyInstanceUID")),
        series=PseudoUID(_text(dataset, "SeriesInstanceUID")),
        sop=PseudoUID(_text(dataset, "SOPInstanceUID")),
    )


def facts_of(dataset: Dataset, record: SealedRecord, size_bytes: int) -> InstanceFacts:
    """Gather one row of the index; the true study year comes from the sealed record alone."""
    names = names_of(dataset)
    day = record.original.study_date
    return InstanceFacts(
        sop_uid=names.sop,
        series_uid=names.series,
        study_uid=names.study,
        patient=Pseudonym(_text(dataset, "PatientID")),
        countable=record.countable,
        sop_class_uid=_text(dataset, "SOPClassUID"),
        transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID),
        modality=_text(dataset, "Modality").upper(),
        body_part=_text(dataset, "BodyPartExamined").upper(),
        sex=_text(dataset, "PatientSex").upper(),
        age_years=age_years(_text(dataset, "PatientAge")),
        study_year=day.year if day else None,
        manufacturer=manufacturer(_text(dataset, "Manufacturer")),
        model=_text(dataset, "ManufacturerModelName"),
        slice_thickness_mm=_number(dataset, "SliceThickness"),
        rows=_count(dataset, "Rows"),
        columns=_count(dataset, "Columns"),
        frames=_count(dataset, "NumberOfFrames") or 1,
        instance_number=_count(dataset, "InstanceNumber"),
        size_bytes=size_bytes,
        profile_digest=record.profile.hex(),
        received_digest=record.received.hex(),
        path=names.path,
    )


def age_years(text: str) -> int | None:
    """Read an age string (PS3.5 6.2, VR AS), capped at 89."""
    digits, unit = text[:-1], text[-1:].upper()
    if not digits.isdigit() or unit not in {"Y", "M", "W", "D"}:
        return None
    return min(int(digits), OLDEST_SHOWN) if unit == "Y" else 0


def manufacturer(text: str) -> str:
    """Name a manufacturer as the federation's vocabulary does, where it can."""
    upper = " ".join(text.upper().split())
    padded = f" {upper} "
    return next((name for name in MANUFACTURERS if f" {name} " in padded), upper)


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    if value is None:
        return ""
    if not isinstance(value, str) and hasattr(value, "__iter__"):
        value = next(iter(value), "")  # the first of several
    return str(value).strip()


def _number(dataset: Dataset, keyword: str) -> float | None:
    with suppress(ValueError, TypeError, OverflowError):
        number = float(_text(dataset, keyword))
        return number if number == number and abs(number) < 1e9 else None  # noqa: PLR0124, PLR2004 - NaN; no slice is a thousand kilometres thick
    return None


def _count(dataset: Dataset, keyword: str) -> int | None:
    with suppress(ValueError, TypeError, OverflowError):
        count = int(float(_text(dataset, keyword)))
        return count if abs(count) < 2**31 else None
    return None
