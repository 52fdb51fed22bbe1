"""What each code of PS3.15 Table E.1-1a does to one element: the profile is data, this is verbs."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from gateway.deid import dates, elements, text, uids
from gateway.deid.names import Known
from gateway.deid.rules import BULK, NUMBERS, TEXT, WRITTEN_NUMBERS, Action, Decision
from gateway.model import Pseudonym

PATIENT_ID = 0x00100020
PATIENT_NAME = 0x00100010
ACCESSION = 0x00080050
PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
AGE = 0x00101010
TIMEZONE = 0x00080201
# The code strings whose whole set of values is known (PS3.3).
CLOSED = {
    0x00100040: frozenset({"M", "F", "O"}),
    0x00280301: frozenset({"YES", "NO"}),
    0x00280302: frozenset({"YES", "NO"}),
    # What a structured report is built of (PS3.3 C.17.3): somebody's name may well be `Text`.
    0x0040A040: frozenset(
        {"TEXT", "NUM", "CODE", "DATE", "TIME", "DATETIME", "UIDREF", "PNAME", "COMPOSITE", "IMAGE",
         "WAVEFORM", "SCOORD", "SCOORD3D", "TCOORD", "CONTAINER", "TABLE"}
    ),
    0x0040A010: frozenset(
        {"CONTAINS", "HAS PROPERTIES", "HAS OBS CONTEXT", "HAS ACQ CONTEXT", "INFERRED FROM",
         "SELECTED FROM", "HAS CONCEPT MOD"}
    ),
    0x0040A050: frozenset({"SEPARATE", "CONTINUOUS"}),
}  # fmt: skip
# PS3.5 6.2, and what devices write all the same: a hyphen, one word in lower case.
CODE = re.compile(r"[A-Z0-9 _.+/\-]{0,32}|[A-Za-z0-9_.+\-]{0,16}")
ZONE = re.compile(r"[+-]\d{4}")
LONG_NUMBER = re.compile(r"\d{7,}")
WHOLE_NUMBER = re.compile(r"\s*\d{6,}\s*")  # as long as an ID that is sought inside others
UID = re.compile(r"[0-9.]{0,64}")
NUMBER = re.compile(r"\s*[+-]?(?:\d{1,15}(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?\s*")
FILLING: dict[str, object] = {
    "AE": "REMOVED", "AS": "000Y", "AT": 0, "CS": "REMOVED", "DA": "19000101", "DS": "0",
    "DT": "19000101000000", "FD": 0.0, "FL": 0.0, "IS": "0", "LO": "REMOVED", "LT": "REMOVED",
    "OB": b"\0\0", "OD": b"\0" * 8, "OF": b"\0" * 4, "OL": b"\0" * 4, "OV": b"\0" * 8,
    "OW": b"\0\0", "PN": "REMOVED", "SH": "REMOVED", "SL": 0, "SS": 0, "ST": "REMOVED", "SV": 0,
    "TM": "000000", "UC": "REMOVED", "UI": "", "UL": 0, "UN": b"\0\0", "UR": "urn:removed",
    "US": 0, "UT": "REMOVED", "UV": 0,
}  # fmt: skip
# Codes and versions: their digits are no phone numbers, their dots no addresses.
CODES = frozenset(
    tag_for_keyword(keyword)
    for keyword in (
        "CodeValue", "LongCodeValue", "URNCodeValue", "CodingSchemeVersion",
    )
)  # fmt: skip
VERSIONS = frozenset(
    tag_for_keyword(keyword)
    for keyword in (
        "SoftwareVersions", "SecondaryCaptureDeviceSoftwareVersions", "AlgorithmVersion",
        "ApplicationVersion", "ManufacturerModelVersion",
    )
)  # fmt: skip
PLAIN = frozenset({"AE", "UR"})  # no charset applies to them (PS3.5 6.1.2.2)
LONGEST = {"SH": 16, "LO": 64, "CS": 16, "ST": 1024, "LT": 10240}  # characters, PS3.5 6.2


@dataclass(frozen=True, slots=True)
class Patient:
    """What one instance's elements are rewritten with."""

    pseudonym: Pseudonym
    days: int
    known: Known
    key: uids.Keys
    age_at_most: int


def act(
    dataset: Dataset, tag: int, decision: Decision, encodings: tuple[str, ...], patient: Patient
) -> None:
    """Carry one decision out on one element that is no sequence."""
    ACTIONS[decision.action](dataset, tag, decision, encodings, patient)


def remove(
    dataset: Dataset, tag: int, _decision: Decision, _encodings: tuple[str, ...], _patient: Patient
) -> None:
    """X: the attribute goes."""
    elements.drop(dataset, tag)


def zero(
    dataset: Dataset, tag: int, decision: Decision, _encodings: tuple[str, ...], _patient: Patient
) -> None:
    """Z: the attribute stays without a value."""
    elements.put(dataset, tag, decision.vr, None if decision.vr not in TEXT else "")


def dummy(
    dataset: Dataset, tag: int, decision: Decision, encodings: tuple[str, ...], patient: Patient
) -> None:
    """D: a value that is none; for the patient's own identifiers, a keyed pseudonym."""
    if decision.vr == "UI":
        remap(dataset, tag, decision, encodings, patient)
        return
    value = FILLING.get(decision.vr, "")
    if tag in (PATIENT_ID, PATIENT_NAME):
        value = patient.pseudonym
    elif tag == ACCESSION:
        written = elements.as_text(elements.held(dataset, tag), encodings)
        value = uids.keyed_text("accession", written, patient.key) if written else ""
    elements.put(dataset, tag, decision.vr, value)


def remap(
    dataset: Dataset, tag: int, decision: Decision, encodings: tuple[str, ...], patient: Patient
) -> None:
    """U: replace each UID with its pseudonym, so that references still meet."""
    written = elements.values(elements.held(dataset, tag), encodings, decision.vr)
    plain = [uid.strip("\0 ") for uid in written]
    if all(uids.is_well_known(uid) for uid in plain):
        return
    elements.put(
        dataset,
        tag,
        "UI",
        _one_or_many(
            [
                uid if not uid or uids.is_well_known(uid) else uids.pseudo_uid(uid, patient.key)
                for uid in plain
            ]
        ),
    )


def keep(
    dataset: Dataset, tag: int, decision: Decision, encodings: tuple[str, ...], patient: Patient
) -> None:
    """K: the value stays, where it is a value of its VR at all; text loses the people in it."""
    vr = decision.vr
    if vr in NUMBERS or vr in BULK:
        elements.check_length(elements.held(dataset, tag), vr)
        if names_somebody(elements.held(dataset, tag), patient.known):
            (remove if vr in BULK else _emptied)(dataset, tag, decision, encodings, patient)
        else:
            _respell(dataset, tag, vr)
    elif vr in WRITTEN_NUMBERS:
        written = _filled(dataset, tag, encodings, vr)
        if not all(is_number(value, patient.known) for value in written):
            _empty(dataset, tag, decision)
        else:
            _respell(dataset, tag, vr)
    elif tag == AGE:
        ages = _filled(dataset, tag, encodings, vr)
        _replace(
            dataset, tag, decision, [dates.capped_age(age, patient.age_at_most) for age in ages]
        )
    elif vr == "CS":
        _keep_code(dataset, tag, decision, encodings, patient)
    elif vr in ("DA", "DT", "TM"):
        _shift(dataset, tag, decision, encodings, 0)
    elif vr == "UI":
        written = elements.values(elements.held(dataset, tag), encodings, vr)
        if not all(UID.fullmatch(uid.strip("\0 ")) for uid in written):
            remap(dataset, tag, decision, encodings, patient)
    else:
        _clean_text(dataset, tag, decision, encodings, patient)


def clean(
    dataset: Dataset, tag: int, decision: Decision, encodings: tuple[str, ...], patient: Patient
) -> None:
    """C: dates are shifted, text loses its people."""
    vr = decision.vr
    if vr in ("DA", "DT", "TM"):
        _shift(dataset, tag, decision, encodings, patient.days)
    elif vr == "CS":
        _keep_code(dataset, tag, decision, encodings, patient)
    elif tag == TIMEZONE:
        zones = [
            zone for zone in _filled(dataset, tag, encodings, vr) if ZONE.fullmatch(zone.strip())
        ]
        _replace(dataset, tag, decision, zones)
    elif vr in TEXT or vr == "AE":
        _clean_text(dataset, tag, decision, encodings, patient)
    else:
        _empty(dataset, tag, decision)


Cleaning = Callable[[str, Known], str]
Verb = Callable[[Dataset, int, Decision, tuple[str, ...], Patient], None]
ACTIONS: dict[Action, Verb] = {
    Action.REMOVE: remove,
    Action.ZERO: zero,
    Action.DUMMY: dummy,
    Action.UID: remap,
    Action.KEEP: keep,
    Action.CLEAN: clean,
}


def _shift(
    dataset: Dataset, tag: int, decision: Decision, encodings: tuple[str, ...], days: int
) -> None:
    written = _filled(dataset, tag, encodings, decision.vr)
    moved = {
        "DA": lambda value: dates.shift_date(value, days),
        "DT": lambda value: dates.shift_datetime(value, days),
        "TM": dates.kept_time,
    }[decision.vr]
    _replace(dataset, tag, decision, [moved(value) for value in written])


def _keep_code(
    dataset: Dataset, tag: int, decision: Decision, encodings: tuple[str, ...], patient: Patient
) -> None:
    """Keep a code string that reads as one; a name is not one, and neither is a long number."""
    written = elements.values(elements.held(dataset, tag), encodings, decision.vr)
    closed = CLOSED.get(tag)
    kept = [
        value if (value.strip() in closed if closed else is_code(value, patient.known)) else ""
        for value in written
    ]
    if kept != written:
        _replace(dataset, tag, decision, kept)
    else:
        _respell(dataset, tag, decision.vr)


def is_code(value: str, known: Known) -> bool:
    return (
        CODE.fullmatch(value) is not None
        and LONG_NUMBER.search(value) is None
        and not known.found_in(value)
    )


def is_number(value: str, known: Known) -> bool:
    """Tell a number from text, and from a patient's number."""
    if NUMBER.fullmatch(value) is None:
        return False
    if LONG_NUMBER.search(value) is None and WHOLE_NUMBER.fullmatch(value) is None:
        return True
    return not known.found_in(value) and not text.is_somebodys(value.strip())


def names_somebody(item: elements.Held, known: Known) -> bool:
    """Tell bytes, called numbers or a table of them, that hold what identifies."""
    if item.tag in PIXELS or known.raw is None or not isinstance(item.value, bytes):
        return False
    return known.raw.search(item.value) is not None


def cleaning(tag: int, action: Action) -> Callable[[str, Known], str]:
    """Choose how a text is cleaned: what a profile keeps on purpose, of its people alone."""
    if tag in CODES:
        return text.clean_code
    if tag in VERSIONS:
        return text.clean_version
    return text.clean_kept if action is Action.KEEP else text.clean


def _clean_text(
    dataset: Dataset, tag: int, decision: Decision, encodings: tuple[str, ...], patient: Patient
) -> None:
    item = elements.held(dataset, tag)
    written = elements.values(item, encodings, decision.vr)
    verb = cleaning(tag, decision.action)
    cleaned = [verb(value, patient.known) for value in written]
    if cleaned != written or not elements.is_plain(item):
        most = LONGEST.get(decision.vr, 1 << 30)
        if decision.vr in PLAIN:
            cleaned = [value.encode("ascii", "ignore").decode() for value in cleaned]
        _replace(
            dataset,
            tag,
            decision,
            [shortened(value, most, verb, patient.known) for value in cleaned],
        )
    else:
        _respell(dataset, tag, decision.vr)


def shortened(value: str, most: int, verb: Cleaning, known: Known) -> str:
    """Cut a text to what its VR takes; a cut may lay a name bare that stood inside a word."""
    return value if len(value) <= most else verb(value[:most], known)


def _filled(dataset: Dataset, tag: int, encodings: tuple[str, ...], vr: str) -> list[str]:
    written = elements.values(elements.held(dataset, tag), encodings, vr)
    return [value for value in written if value.strip("\0 ")]


def _replace(dataset: Dataset, tag: int, decision: Decision, values: list[str]) -> None:
    if any(values):
        elements.put(dataset, tag, decision.vr, _one_or_many(values))
    else:
        _empty(dataset, tag, decision)


def _emptied(
    dataset: Dataset, tag: int, decision: Decision, _encodings: tuple[str, ...], _patient: Patient
) -> None:
    _empty(dataset, tag, decision)


def _empty(dataset: Dataset, tag: int, decision: Decision) -> None:
    """Leave no value, or a filling one where the IOD demands one (type 1)."""
    value = FILLING[decision.vr] if decision.required else None
    elements.put(dataset, tag, decision.vr, value)


def _respell(dataset: Dataset, tag: int, vr: str) -> None:
    """Give an element that came as UN the VR it was treated by."""
    if elements.held(dataset, tag).VR == "UN":
        element = dataset[tag]
        if element.VR == "UN":
            element.VR = vr


def _one_or_many(values: list[str]) -> str | list[str]:
    return values[0] if len(values) == 1 else values
