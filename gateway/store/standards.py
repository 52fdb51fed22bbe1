"""Reference standards that arrive as DICOM: SEG, RTSTRUCT and measurement reports, read as labels.

All are read from their de-identified form: codes stay, and the UIDs they reference are the
pseudonyms of what they speak of. A label's name is its code's meaning in lower case (`nodule`),
its value POSITIVE or NEGATIVE where the object says so, its reader the object's kind and a mark of
its series, for a person's name does not survive (PS3.15 E.1).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import IntegrityFault
from gateway.model import PseudoUID
from gateway.store.labels import LONGEST_WORD, Label

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset  # whoever only counts need not wait for pydicom

STRUCTURES: Final = "1.2.840.10008.5.1.4.1.1.481.3"
SEGMENTATIONS: Final = frozenset({"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"})
REPORTS: Final = frozenset(  # Enhanced, Comprehensive, Comprehensive 3D SR
    {
        "1.2.840.10008.5.1.4.1.1.88.22",
        "1.2.840.10008.5.1.4.1.1.88.33",
        "1.2.840.10008.5.1.4.1.1.88.34",
    }
)
CLASSES: Final = frozenset({STRUCTURES, *SEGMENTATIONS, *REPORTS})

POSITIVE, NEGATIVE = "POSITIVE", "NEGATIVE"
# PS3.16 TID 1500, 1410, 1411, 1501 and CID 240, 230 (both in their SNOMED CT spelling).
MEASUREMENT_REPORT, MEASUREMENT_GROUP = ("126000", "DCM"), ("125007", "DCM")
EVALUATIONS, FINDING = ("C0034375", "UMLS"), ("121071", "DCM")
PRESENCE = ("705057003", "SCT")
YES = frozenset({"52101004", "373066001", "10828004"})  # present, yes, positive
NO = frozenset({"2667000", "373067005", "260385009"})  # absent, no, negative
# Codes of a group that say where or how, and are no findings.
BESIDE = frozenset({"363698007", "G-C0E3", "272741003", "G-C171", "370129005", "G-C036",
                    "276214006", "121139", "112039", "112040"})  # fmt: skip
# What is larger, or packed by a codec in native code, is taken by its frames alone: here the line
# itself reads what strangers sent.
SAMPLES_AT_MOST = 1 << 26  # that must be unpacked
BYTES_AT_MOST = 1 << 30
KINDS: Final = {1: "u1", 8: "u1", 16: "u2"}  # how what is not packed lies, by bits allocated
FOUND_AT_MOST = 10_000  # findings, each on each of its series
UNREAD = re.compile(r"[^a-z0-9]+")


def standard_of(path: Path, version: int) -> list[Label]:
    """Read the labels a stored object gives; IntegrityFault when it cannot be read.

    `version` is that of the pseudonym key, under which the object is stored.
    """
    from pydicom import dcmread

    try:
        long = path.stat().st_size > BYTES_AT_MOST
        document = dcmread(path, stop_before_pixels=long)
        return [replace(label, version=version) for label in labels_in(document)]
    except OSError:
        raise
    except Exception as fault:
        raise IntegrityFault("a stored reference standard cannot be read") from fault


def labels_in(document: "Dataset") -> Iterator[Label]:
    """Yield one label for each finding and each series it speaks of; one word where it has two."""
    sop_class = str(document.SOPClassUID)
    if sop_class in SEGMENTATIONS:
        found, kind = _segments(document), "SEG"
    elif sop_class == STRUCTURES:
        found, kind = _structures(document), "RTSTRUCT"
    else:
        found, kind = _report(document), "SR"
    words: dict[tuple[str, str, str], str] = {}
    for number, (name, value, study, series) in enumerate(found):
        if number == FOUND_AT_MOST:
            raise IntegrityFault("a reference standard says more than any reader could")
        key = (name, study, series)
        words[key] = max(words.get(key, ""), value)  # POSITIVE stands before NEGATIVE
    mark = sha256(str(document.SeriesInstanceUID).encode()).hexdigest()[:8]
    for (name, study, series), value in words.items():
        yield Label(
            study_uid=None if series else PseudoUID(study),
            series_uid=PseudoUID(series) if series else None,
            name=name,
            value=value,
            reader=f"{kind} {mark}",
            source=str(document.SOPInstanceUID),
        )


Found = Iterator[tuple[str, str, str, str]]  # name, value, study, series or ''


def _segments(document: "Dataset") -> Found:
    """PS3.3 C.8.20: a segment without a pixel says that what it is named for is not there."""
    drawn = _drawn(document)
    series = [
        uid_in(item, "SeriesInstanceUID") for item in items(document, "ReferencedSeriesSequence")
    ]
    for segment in items(document, "SegmentSequence"):
        name = name_of(next(items(segment, "SegmentedPropertyTypeCodeSequence"), None))
        value = POSITIVE if int(segment.SegmentNumber) in drawn else NEGATIVE
        for uid in (series or [""]) if name else ():
            yield name, value, str(document.StudyInstanceUID), uid


def _drawn(document: "Dataset") -> set[int]:
    """Return the numbers of segments with at least one pixel."""
    import numpy as np

    frames = [_segment_number(item) for item in items(document, "PerFrameFunctionalGroupsSequence")]
    planes = _planes(document)
    if document.get("SegmentationType") == "LABELMAP":  # a frame names no segment: its values do
        if planes is None:
            raise IntegrityFault("a label map is too large, or packed in a way that is not read")
        return {int(number) for plane in planes for number in np.unique(plane)}
    if planes is None:
        return set(frames)
    return {number for number, plane in zip(frames, planes, strict=True) if plane.any()}


def _planes(document: "Dataset") -> "NDArray[Any] | None":
    """Return the pixels frame by frame, unpacked only where they must be; None where they stay."""
    import numpy as np
    from pydicom.uid import RLELossless

    if "PixelData" not in document:
        return None
    size, count = int(document.Rows) * int(document.Columns), int(document.NumberOfFrames)
    syntax, bits = document.file_meta.TransferSyntaxUID, int(document.BitsAllocated)
    if not syntax.is_compressed and bits in KINDS and size * bits % 8 == 0:
        kind = np.dtype(KINDS[bits]).newbyteorder("<" if syntax.is_little_endian else ">")
        values = size * bits // (8 * kind.itemsize) * count
        return np.frombuffer(document.PixelData, kind, values).reshape(count, -1)
    if size * count > SAMPLES_AT_MOST or (syntax.is_compressed and syntax != RLELossless):
        return None
    if syntax.is_compressed:
        document.pixel_array_options(decoding_plugin="pydicom")
    unpacked: NDArray[Any] = document.pixel_array.reshape(count, -1)
    return unpacked


def _segment_number(frame: "Dataset") -> int:
    found = next(items(frame, "SegmentIdentificationSequence"), None)
    return int(found.ReferencedSegmentNumber) if found is not None else 1


def _structures(document: "Dataset") -> Found:
    """PS3.3 C.8.8.5, C.8.8.6, C.8.8.8: named by code or type, for names of ROIs are free text."""
    drawn = {
        int(item.ReferencedROINumber)
        for item in items(document, "ROIContourSequence")
        if any(items(item, "ContourSequence"))
    }
    targets = [
        (uid_in(study, "ReferencedSOPInstanceUID"), uid_in(series, "SeriesInstanceUID"))
        for frame in items(document, "ReferencedFrameOfReferenceSequence")
        for study in items(frame, "RTReferencedStudySequence")
        for series in items(study, "RTReferencedSeriesSequence")
    ] or [(str(document.StudyInstanceUID), "")]
    for roi in items(document, "RTROIObservationsSequence"):
        code = next(items(roi, "RTROIIdentificationCodeSequence"), None)
        name = name_of(code) or slug(str(roi.get("RTROIInterpretedType") or ""))
        value = POSITIVE if int(roi.ReferencedROINumber) in drawn else NEGATIVE
        for study, series in targets if name else ():
            yield name, value, study, series


def _report(document: "Dataset") -> Found:
    """TID 1500: findings of measurement groups, and qualitative evaluations."""
    if code_in(document, "ConceptNameCodeSequence") != MEASUREMENT_REPORT:
        return
    evidence = dict(_evidence(document))
    only = _only(evidence)
    for group in below(document):
        concept = code_in(group, "ConceptNameCodeSequence")
        if concept not in (MEASUREMENT_GROUP, EVALUATIONS):
            continue
        named = {
            evidence[uid] for item in below(group) for uid in references(item) if uid in evidence
        }
        targets = sorted(named) or only or [(str(document.StudyInstanceUID), "")]
        for name, value in told_in(group):
            for study, series in targets:
                yield name, value, study, series


def told_in(group: "Dataset") -> Iterator[tuple[str, str]]:
    """Yield the findings and evaluations that are codes directly below a group."""
    coded = [item for item in items(group, "ContentSequence") if item.get("ValueType") == "CODE"]
    pairs = [
        (code_in(item, "ConceptNameCodeSequence"), code_in(item, "ConceptCodeSequence"), item)
        for item in coded
    ]
    absent = any(concept == PRESENCE and value[0] in NO for concept, value, _ in pairs)
    for concept, value, item in pairs:
        answer = next(items(item, "ConceptCodeSequence"), None)
        if concept == FINDING:
            if name := name_of(answer):
                yield name, NEGATIVE if absent else POSITIVE
        elif concept != PRESENCE and concept[0] not in BESIDE:
            name = name_of(next(items(item, "ConceptNameCodeSequence"), None))
            if name and (word := _word(value[0], answer)):
                yield name, word


def _word(code: str, answer: "Dataset | None") -> str:
    if code in YES:
        return POSITIVE
    return NEGATIVE if code in NO else name_of(answer).upper()


def _evidence(document: "Dataset") -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield (instance, (study, series)) from PS3.3 C.17.2.3, series under their UIDs too."""
    for study in items(document, "CurrentRequestedProcedureEvidenceSequence"):
        for series in items(study, "ReferencedSeriesSequence"):
            place = (uid_in(study, "StudyInstanceUID"), uid_in(series, "SeriesInstanceUID"))
            yield place[1], place
            for instance in items(series, "ReferencedSOPSequence"):
                yield uid_in(instance, "ReferencedSOPInstanceUID"), place


def _only(evidence: Mapping[str, tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the evidence's one series; where there are several, the report is of the study."""
    places = set(evidence.values())
    return list(places) if len(places) == 1 else []


def references(item: "Dataset") -> Iterator[str]:
    if item.get("ValueType") == "UIDREF":
        yield str(item.get("UID", ""))
    for instance in items(item, "ReferencedSOPSequence"):
        yield uid_in(instance, "ReferencedSOPInstanceUID")


def below(item: "Dataset") -> Iterator["Dataset"]:
    for child in items(item, "ContentSequence"):
        yield child
        yield from below(child)


def items(holder: "Dataset", keyword: str) -> Iterator["Dataset"]:
    yield from holder.get(keyword) or ()


def uid_in(holder: "Dataset", keyword: str) -> str:
    return str(holder.get(keyword, ""))


def code_in(holder: "Dataset", keyword: str) -> tuple[str, str]:
    item = next(items(holder, keyword), None)
    if item is None:
        return ("", "")
    return (str(item.get("CodeValue", "")), str(item.get("CodingSchemeDesignator", "")))


def name_of(code: "Dataset | None") -> str:
    """Return a code's meaning as a word; where that is not ASCII, its scheme and value."""
    if code is None:
        return ""
    meaning = str(code.get("CodeMeaning") or "")
    spelled = slug(meaning) if meaning.isascii() else ""
    return spelled or slug(f"{code.get('CodingSchemeDesignator', '')} {code.get('CodeValue', '')}")


def slug(text: str) -> str:
    return UNREAD.sub("-", text.lower()).strip("-")[:LONGEST_WORD]
