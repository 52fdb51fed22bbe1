"""The reference engine: a dataset in, the same dataset without its patient out, or a refusal."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from gateway.deid import (
    actions,
    claims,
    elements,
    faces,
    facts,
    identity,
    names,
    pixels,
    scan,
    uids,
)
from gateway.deid.actions import Patient
from gateway.deid.dates import shift_days
from gateway.deid.elements import TooDeep, Unreadable
from gateway.deid.facts import DeidFacts, Header
from gateway.deid.profile import Profile
from gateway.deid.rules import Decision, Rulebook
from gateway.deid.spare import Layout, layout
from gateway.deid.treating import Sent, Treatment
from gateway.model import Original, Pseudonym, PseudoUID, RealUID

UTF_8 = "ISO_IR 192"
UNSAID = ("iso8859",)  # PS3.5 6.1.2.1: the default repertoire
INSTITUTION = frozenset({0x00080080, 0x00080081})
# PS3.16 CID 7050, in the order of Table E.1-1's columns.
BASIC_CODE = ("113100", "Basic Application Confidentiality Profile")
OPTION_CODES = {
    "clean_graphics": ("113103", "Clean Graphics Option"),
    "clean_structured_content": ("113104", "Clean Structured Content Option"),
    "clean_descriptors": ("113105", "Clean Descriptors Option"),
    "retain_longitudinal_full_dates": (
        "113106",
        "Retain Longitudinal Temporal Information Full Dates Option",
    ),
    "retain_longitudinal_modified_dates": (
        "113107",
        "Retain Longitudinal Temporal Information Modified Dates Option",
    ),
    "retain_patient_characteristics": ("113108", "Retain Patient Characteristics Option"),
    "retain_device_identity": ("113109", "Retain Device Identity Option"),
    "retain_uids": ("113110", "Retain UIDs Option"),
    "retain_safe_private": ("113111", "Retain Safe Private Option"),
    "retain_institution_identity": ("113112", "Retain Institution Identity Option"),
}


class RefusalReason(StrEnum):
    NO_UIDS = "its own UIDs are missing"
    UNKNOWN_CLASS = "its SOP class is private or not in the tables"
    OPAQUE = "its class hides content no rule can look through"
    TOO_DEEP = "its sequences lie too deep in each other"
    UNREADABLE = "an element cannot be read"
    LEFTOVER = "something that identifies was left after cleaning"


ADVICE = {
    RefusalReason.NO_UIDS: "Have the sender set Study, Series and SOP Instance UIDs.",
    RefusalReason.UNKNOWN_CLASS: "Send the standard form of the object, or drop it from the route.",
    RefusalReason.OPAQUE: "Keep such objects out of the route: the gateway takes no documents.",
    RefusalReason.TOO_DEEP: "Look at the sender: no standard object nests more than 64 sequences.",
    RefusalReason.UNREADABLE: "Repair the named element at its source, and send again.",
    RefusalReason.LEFTOVER: (
        "See what the named attribute holds with `radfed gateway quarantine show`; "
        "override it with action X in the profile, and release."
    ),
}
PIXEL_ADVICE = "Look at it: drop it, or have the device say BurnedInAnnotation NO if that is true."


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an instance cannot be de-identified, and where: tags, never values."""

    reason: RefusalReason
    place: str

    @property
    def advice(self) -> str:
        return ADVICE[self.reason]


@dataclass(frozen=True, slots=True)
class Deidentified:
    dataset: Dataset
    original: Original
    facts: DeidFacts
    needs_pixels: pixels.Risk | None  # why nobody may keep the pixels before they were looked at
    pixel_bytes: int  # how long native Pixel Data may be by the header
    spare: Layout | None = None  # of native samples, where they have bits that are no picture
    face: faces.FaceRisk = faces.NOTHING

    @property
    def advice(self) -> str:
        return PIXEL_ADVICE if self.needs_pixels else ""


class Deidentifier:
    """One profile under one site's keys."""

    def __init__(self, profile: Profile, pseudonym_key: uids.Keys, shift_key: uids.Keys) -> None:
        self._profile = profile
        self._rules = Rulebook(profile)
        self._key = pseudonym_key
        self._shift_key = uids.versions(shift_key)[-1]
        self._versions = uids.numbers(pseudonym_key, shift_key)
        self._retained = retained(profile)

    @property
    def profile(self) -> Profile:
        return self._profile

    def pseudonym(self, patient_id: str, issuer: str) -> Pseudonym:
        return uids.pseudonym(patient_id, issuer, self._key)

    def pseudo_uid(self, real: str) -> PseudoUID:
        return uids.pseudo_uid(real, self._key)

    def pseudo_accession(self, number: str) -> str:
        """Return what stands under AccessionNumber where the profile keeps a pseudonym of it."""
        return uids.keyed_text("accession", number, self._key)

    def names_nobody(self, patient_id: str) -> bool:
        return uids.is_placeholder(patient_id)

    def apply(self, dataset: Dataset, transfer_syntax_uid: str) -> Deidentified | Refusal:
        """De-identify in place (PS3.15 E.1.1); the argument is spent either way."""
        try:
            return self._apply(dataset, transfer_syntax_uid)
        except (TooDeep, RecursionError):
            return Refusal(RefusalReason.TOO_DEEP, "sequences")
        except Unreadable as fault:
            return Refusal(RefusalReason.UNREADABLE, elements.place(fault.tag))
        except Exception:  # noqa: BLE001 - damage nobody foresaw: quarantined like any other
            return Refusal(RefusalReason.UNREADABLE, "header")

    def _apply(self, dataset: Dataset, transfer_syntax_uid: str) -> Deidentified | Refusal:
        encodings = elements.charset_of(dataset, UNSAID)
        header = Header(dataset, encodings)
        sop_class, true = header.first("SOPClassUID"), facts.original(header)
        if not (sop_class and true.study_uid and true.series_uid and true.sop_uid):
            return Refusal(RefusalReason.NO_UIDS, "(0008,0018) (0020,000D) (0020,000E)")
        if pixels.is_opaque(sop_class):
            return Refusal(RefusalReason.OPAQUE, "(0008,0016)")
        iod = self._rules.iod(sop_class)
        if iod is None:
            return Refusal(RefusalReason.UNKNOWN_CLASS, "(0008,0016)")
        patient, countable = self._patient(dataset, true, encodings)
        found = facts.gathered(
            header,
            true=true,
            pseudonym=patient.pseudonym,
            countable=countable,
            at_most=self._profile.age_at_most,
        )
        look = pixels.risk(sop_class, transfer_syntax_uid, dataset, self._profile.cleaned_pixels)
        size = pixels.accounted(
            header, rows=found["rows"], columns=found["columns"], frames=found["frames"]
        )
        spare = layout(header)
        face = faces.risk(sop_class, header, remove=self._profile.removes_faces)
        self._treat(dataset, iod, encodings, patient)
        for tag in (actions.PATIENT_ID, actions.PATIENT_NAME):
            if not elements.present(dataset, tag):  # type 2: an instance without a patient gets one
                elements.put(dataset, tag, "LO" if tag == actions.PATIENT_ID else "PN", "")
                actions.act(dataset, tag, self._rules.decide(iod, None, tag, None), (), patient)
        sign(dataset, self._profile)
        if face.said:
            faces.say_shown(dataset)
        name_charset(dataset)
        if transfer_syntax_uid != ImplicitVRLittleEndian:
            elements.spell_vrs(dataset)
        if here := scan.leftover(dataset, patient.known, private=self._rules.keeps_private):
            return Refusal(RefusalReason.LEFTOVER, here)
        known = found | {
            "sop_class_uid": sop_class,
            "transfer_syntax_uid": transfer_syntax_uid,
            "model": Header(dataset, ("utf-8",)).first("ManufacturerModelName"),
        }
        return Deidentified(dataset, true, self._facts(true, known), look, size, spare, face)

    def _patient(
        self, dataset: Dataset, true: Original, encodings: tuple[str, ...]
    ) -> tuple[Patient, bool]:
        """Gather whom the instance is about; a placeholder ID makes a patient of each study."""
        called = uids.named(true, self._key)
        people = identity.gather(dataset, encodings, self._retained)
        days = shift_days(called.root, self._shift_key, self._profile.shift_days_at_most)
        known = names.known(*people.freeze())
        patient = Patient(called.pseudonym, days, known, self._key, self._profile.age_at_most)
        return patient, called.countable

    def _treat(
        self, dataset: Dataset, iod: str, encodings: tuple[str, ...], patient: Patient
    ) -> None:
        def act(
            holder: Dataset, tag: int, decision: Decision, _: Sent, inner: tuple[str, ...]
        ) -> None:
            actions.act(holder, tag, decision, inner, patient)

        keeps_private = self._rules.keeps_private
        Treatment(self._rules, iod, act, private_may_stand=keeps_private).treat(dataset, encodings)

    def _facts(self, true: Original, known: dict[str, Any]) -> DeidFacts:
        return DeidFacts(
            sop_uid=self._kept_or_pseudo(true.sop_uid),
            series_uid=self._kept_or_pseudo(true.series_uid),
            study_uid=self._kept_or_pseudo(true.study_uid),
            profile_digest=self._profile.digest,
            **self._versions,
            **known,
        )

    def _kept_or_pseudo(self, real: RealUID) -> PseudoUID:
        return PseudoUID(real) if self._profile.options.retain_uids else self.pseudo_uid(real)


def sign(dataset: Dataset, profile: Profile) -> None:
    """Say what was done (PS3.15 E.1.1, PS3.3 C.12.1.1.7 and C.7.1.1)."""
    options = profile.options
    applied = [code for name, code in OPTION_CODES.items() if getattr(options, name)]
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = [
        "radfed de-identification",
        f"profile {profile.name}",
        f"sha256 {profile.digest[:16]}",
        *claims.method(claims.exceptions(profile)),
    ]
    dataset.DeidentificationMethodCodeSequence = [
        _code(value, meaning) for value, meaning in (BASIC_CODE, *applied)
    ]
    dataset.LongitudinalTemporalInformationModified = claims.dates(profile)


def retained(profile: Profile) -> frozenset[int]:
    """Return what the site keeps on purpose: it is not looked for elsewhere."""
    kept = {tag for tag, override in profile.overrides.items() if override.action == "K"}
    return frozenset(kept | INSTITUTION if profile.options.retain_institution_identity else kept)


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def name_charset(dataset: Dataset) -> None:
    """Name UTF-8 where text needs it; else leave what was named, for ASCII is the same in all."""
    declared = Header(dataset, UNSAID).text("SpecificCharacterSet")
    if not _ascii(dataset):
        dataset.SpecificCharacterSet = UTF_8
    elif declared and not all(term in elements.CHARSETS for term in declared.split("\\")):
        elements.drop(dataset, elements.CHARSET)


def _ascii(dataset: Dataset) -> bool:
    """Tell whether every text that is no longer as it came is plain ASCII."""
    for tag in elements.tags(dataset):
        item = elements.held(dataset, tag)
        if item.VR == "SQ":
            if not all(_ascii(inner) for inner in elements.items(dataset, tag)):
                return False
        elif not isinstance(item.value, bytes) and not elements.as_text(item, UNSAID).isascii():
            return False
    return True
