"""The closed, public vocabulary of questions: fields, their types and their bins."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from types import MappingProxyType

PROTOCOL_VERSIONS = (1,)
MAX_PREDICATES = 6
MAX_GROUP_BY = 2
EXACT_CELL_AT_LEAST = 10  # patients, in a cell of an exact table that is shown


class FieldKind(StrEnum):
    CATEGORY = "category"  # compared by equality, one bin for each public value
    NUMBER = "number"  # compared by order, binned by `edges`


@dataclass(frozen=True, slots=True)
class Field:
    """One field a question may name.

    `bins` are the labels of a group-by, in order. For a number, bin i covers
    [edges[i-1], edges[i]), the first everything below edges[0], the last everything from
    edges[-1] up. A value outside a category's bins counts as OTHER, an absent one as UNKNOWN.
    `span` is where a number's first bin is taken to begin and its last to end, for a mean. A
    `whole` number has no values between two edges that are one apart.
    """

    name: str
    kind: FieldKind
    bins: tuple[str, ...]
    edges: tuple[float, ...] = ()
    span: tuple[float, float] = (0.0, 0.0)
    whole: bool = False


OTHER = "OTHER"
UNKNOWN = "UNKNOWN"

MODALITIES = (
    *(
        "CT",
        "MR",
        "CR",
        "DX",
        "MG",
        "US",
        "NM",
        "PT",
        "XA",
        "RF",
        "SC",
        "OT",
        "SM",
        "ES",
        "OP",
        "ECG",
    ),
    *("SR", "SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTIMAGE", "PR", "KO"),
)
# Coded anatomy, PS3.16 Annex L's short keywords for the ten subspecialties' regions.
BODY_PARTS = ("HEAD", "BRAIN", "NECK", "CHEST", "HEART", "BREAST", "ABDOMEN", "PELVIS", "SPINE",
              "CSPINE", "TSPINE", "LSPINE", "SHOULDER", "ELBOW", "HAND", "HIP", "KNEE", "ANKLE",
              "FOOT", "EXTREMITY", "WHOLEBODY")  # fmt: skip
MANUFACTURERS = ("GE", "SIEMENS", "PHILIPS", "CANON", "TOSHIBA", "UNITED IMAGING", "NEUSOFT",
                 "MINDRAY", "WANDONG", "FUJIFILM", "HITACHI", "HOLOGIC", "AGFA", "CARESTREAM",
                 "SYNTHETIC")  # fmt: skip
AGE_EDGES = tuple(float(age) for age in range(10, 90, 10))
THICKNESS_EDGES = (1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
STUDY_YEARS = tuple(str(year) for year in range(2000, 2041))


def _between(edges: tuple[float, ...], unit: str = "") -> tuple[str, ...]:
    """Name the bins of a number: `<10`, `10-20`, ..., `>=80`."""
    inner = (f"{low:g}-{high:g}{unit}" for low, high in pairwise(edges))
    return (f"<{edges[0]:g}{unit}", *inner, f">={edges[-1]:g}{unit}")


_FIELDS = (
    Field("Modality", FieldKind.CATEGORY, MODALITIES),
    Field("BodyPartExamined", FieldKind.CATEGORY, BODY_PARTS),
    Field("PatientSex", FieldKind.CATEGORY, ("F", "M", "O")),
    Field("PatientAge", FieldKind.NUMBER, _between(AGE_EDGES), AGE_EDGES, (0.0, 90.0),
          whole=True),
    Field("Manufacturer", FieldKind.CATEGORY, MANUFACTURERS),
    Field("SliceThickness", FieldKind.NUMBER, _between(THICKNESS_EDGES, "mm"), THICKNESS_EDGES,
          (0.0, 20.0)),
    Field("StudyYear", FieldKind.NUMBER, STUDY_YEARS, tuple(map(float, STUDY_YEARS[1:])),
          (2000.0, 2041.0), whole=True),
    Field("QualityGrade", FieldKind.CATEGORY, ("A", "B", "C", "D")),
    Field("Label", FieldKind.CATEGORY, ("POSITIVE", "NEGATIVE")),
)  # fmt: skip
FIELDS: Mapping[str, Field] = MappingProxyType({field.name: field for field in _FIELDS})
# Names of bands, for who thinks in them: `AgeBand = '50-60'` is asked of PatientAge.
BANDS: Mapping[str, str] = MappingProxyType(
    {"AgeBand": "PatientAge", "SliceThicknessBand": "SliceThickness"}
)


def labels(name: str) -> tuple[str, ...]:
    """Return the labels of a group-by, the two catch-alls included."""
    field = FIELDS[name]
    other = (OTHER,) if field.kind is FieldKind.CATEGORY else ()
    return (*field.bins, *other, UNKNOWN)
