"""The public tables (tier T0): which marginals of its patients a hospital counts once an epoch."""

from collections.abc import Sequence

# Whole populations, no filter; fields in alphabetical order, as a canonical question has them.
TABLES: tuple[tuple[str, ...], ...] = (
    (),
    ("BodyPartExamined",),
    ("Manufacturer",),
    ("Modality",),
    ("PatientAge",),
    ("PatientSex",),
    ("QualityGrade",),
    ("SliceThickness",),
    ("StudyYear",),
    ("Modality", "PatientSex"),
    ("PatientAge", "PatientSex"),
)


def is_public(group_by: Sequence[str]) -> bool:
    return tuple(sorted(group_by)) in TABLES
