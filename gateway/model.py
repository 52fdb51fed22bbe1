"""The gateway's nouns."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import NamedTuple, NewType

RealUID = NewType("RealUID", str)
PseudoUID = NewType("PseudoUID", str)
Pseudonym = NewType("Pseudonym", str)


class Stage(StrEnum):
    RECEIVED = "received"
    DEIDENTIFIED = "deidentified"
    STORED = "stored"
    QUARANTINED = "quarantined"


class Lane(StrEnum):
    EXPRESS = "express"  # de-identified while it arrives
    VAULT = "vault"  # encrypted first, de-identified by a worker


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is known of an instance before its dataset: the C-STORE command and its association."""

    sop_class_uid: str
    sop_instance_uid: RealUID
    transfer_syntax_uid: str
    calling_ae: str
    called_ae: str


@dataclass(frozen=True, slots=True)
class Original:
    """What identified an instance: it lives in the sealed record and nowhere else in the clear."""

    patient_id: str
    issuer: str
    study_uid: RealUID
    series_uid: RealUID
    sop_uid: RealUID
    study_date: date | None


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """What the index holds of one stored instance: nothing that identifies a patient."""

    sop_uid: PseudoUID
    series_uid: PseudoUID
    study_uid: PseudoUID
    patient: Pseudonym
    countable: bool  # False for placeholder patient IDs: in no patient count and no cohort
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    body_part: str
    sex: str
    age_years: int | None  # capped at 89
    study_year: int | None  # the true year, from the sealed record
    manufacturer: str
    model: str
    slice_thickness_mm: float | None
    rows: int | None
    columns: int | None
    frames: int
    instance_number: int | None
    size_bytes: int
    profile_digest: str  # hex
    received_digest: str  # hex keyed digest of the dataset bytes as received
    path: str  # relative to the store


Point = tuple[float, float, float]  # millimetres, in the patient's coordinates (PS3.3 C.7.6.2.1.1)


class Box(NamedTuple):
    """A box along the patient's axes."""

    low: Point
    high: Point


class Isolation(StrEnum):
    """What stands between a job and this machine's kernel, weakest first."""

    BUBBLEWRAP = "bubblewrap"
    GVISOR = "gvisor"  # bubblewrap too, and within it a kernel of the job's own

    @property
    def words(self) -> str:
        return "gVisor within bubblewrap" if self is Isolation.GVISOR else "bubblewrap"
