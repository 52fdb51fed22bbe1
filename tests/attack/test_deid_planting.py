"""Identities planted in hundreds of places of real files; none may be left, decoded or raw."""

import os
import re
import warnings
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path

import pydicom.data
import pytest
from pydicom import dcmread
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID

from gateway.deid.engine import Deidentified, Deidentifier, Refusal, RefusalReason
from gateway.deid.profile import load_profile

pytestmark = pytest.mark.attack

WHEEL_DATA = Path(
    pydicom.data.__file__
).parent  # its own functions would fetch more from the network
# `make attack` plants in every file in every encoding; else each file has two encodings of the six.
EVERY = 1 if os.environ.get("RADFED_ALL") else 3
SHARED = Path(__file__).parents[3] / "shared" / "data" / "dicom"
PERSON = "Wangxiaoming^Zhengyi=王晓铭^正义"
PATIENT_ID = "HX77889900"
PHONE = "13812345678"
CARD = "11010519491231002X"
DOCTOR = "Featherstone^Quentin"
HOSPITAL = "Blackwater Valley Infirmary"
BIRTH = "19491231"
SECRETS = (
    "Wangxiaoming", "WANGXIAOMING", "王晓铭", "正义", PATIENT_ID, PHONE, CARD, "Featherstone",
    "Blackwater Valley",
)  # fmt: skip
ENCODINGS = ("utf-8", "gb18030", "utf-16-le", "utf-16-be")
CHARSETS = {
    "ISO_IR 192": "utf-8",
    "GB18030": "gb18030",
    "GBK": "gbk",
    "ISO_IR 100": "gbk",  # the lie
    "": "gbk",  # says nothing
    "ISO_IR 6 ": "utf-8",
}
# What stays a person's business to the reader: never planted in, or the file is no longer a file.
STRUCTURE = frozenset(
    {
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SpecificCharacterSet",
    }
)
TEXT_VRS = {
    "LO": 64,
    "SH": 16,
    "ST": 200,
    "LT": 200,
    "UT": 200,
    "UC": 200,
    "CS": 16,
    "AE": 16,
    "PN": 60,
}


def readable(paths) -> list[Path]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [path for path in paths if _has_uids(path)]


def _has_uids(path: Path) -> bool:
    try:
        header = dcmread(path, stop_before_pixels=True, force=True)
        return all(header.get(keyword) for keyword in STRUCTURE - {"SpecificCharacterSet"})
    except Exception:  # noqa: BLE001 - whatever pydicom makes of a text file
        return False


WHEEL = readable(path for path in sorted(WHEEL_DATA.rglob("*")) if path.is_file())
REAL = readable(sorted(SHARED.glob("*.dcm"))) if SHARED.is_dir() else []
KEYWORDS = [
    (tag, vr, keyword)
    for tag, (vr, _, _, _, keyword) in sorted(DicomDictionary.items())
    if vr in TEXT_VRS and keyword and keyword not in STRUCTURE and tag >> 16 not in (0, 2, 4)
]


def values() -> Iterator[str]:
    """Yield the patient's and the staff's identities as people write them, for ever."""
    latin, chinese = PERSON.split("=")
    while True:
        yield from (
            PERSON, latin.replace("^", " "), chinese.replace("^", ""), PATIENT_ID, PHONE, CARD,
            f"CT {latin.split('^')[0].upper()} chest", f"{chinese.replace('^', '')} 胸部", DOCTOR,
            f"see {HOSPITAL}", f"id:{PATIENT_ID}",
        )  # fmt: skip


def plant(dataset: Dataset, codec: str) -> int:
    """Put an identity in every text attribute the dictionary has, nested and private ones too."""
    dataset.PatientName, dataset.PatientID = PERSON, PATIENT_ID
    dataset.PatientBirthDate, dataset.ReferringPhysicianName = BIRTH, DOCTOR
    dataset.InstitutionName = HOSPITAL
    planted = 0
    supply = values()
    for tag, vr, keyword in KEYWORDS:
        if keyword in ("PatientName", "PatientID", "ReferringPhysicianName", "InstitutionName"):
            continue
        value = next(supply)[: TEXT_VRS[vr]]
        _put(dataset, tag, vr, value, codec)
        planted += 1
    inner = Dataset()
    for tag, vr, _ in KEYWORDS[::3]:
        _put(inner, tag, vr, next(supply)[: TEXT_VRS[vr]], codec)
        planted += 1
    for keyword in (
        "RequestAttributesSequence",
        "ReferencedImageSequence",
        "ProcedureCodeSequence",
    ):
        setattr(dataset, keyword, Sequence([inner]))
    block = dataset.private_block(0x0099, "SHY VENDOR", create=True)
    block.add_new(1, "LO", PERSON)
    block.add_new(2, "SQ", Sequence([inner]))
    _put(dataset, 0x60000022, "LO", PERSON, codec)
    dataset.add(DataElement(Tag(0x60003000), "OW", PERSON.encode("utf-8") + b" "))
    dataset.add(DataElement(Tag(0xFFFCFFFC), "OB", PATIENT_ID.encode() * 10))
    return planted


def _put(dataset: Dataset, tag: int, vr: str, value: str, codec: str) -> None:
    """Write bytes in a charset of our choice, whatever the dataset declares."""
    raw = value.encode(codec, "ignore")
    dataset._dict.pop(Tag(tag), None)
    dataset._dict[Tag(tag)] = _raw(tag, vr, raw + b" " * (len(raw) % 2))


def _raw(tag: int, vr: str, value: bytes):
    from pydicom.dataelem import RawDataElement

    return RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)  # noqa: FBT003


@cache
def engine(profile: str) -> Deidentifier:
    return Deidentifier(load_profile(profile), bytes(32), bytes(range(32)))


def deidentified(path: Path, charset: str, profile: str = "research-strict"):
    dataset = dcmread(path, force=True)
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", "1.2.840.10008.1.2"))
    header = FileDataset("", {k: v for k, v in dataset._dict.items() if k < 0x7FE00000})
    header.set_original_encoding(*dataset.original_encoding, "iso8859")
    planted = plant(header, CHARSETS[charset])
    if charset.strip():
        header._dict[Tag(0x00080005)] = _raw(
            0x00080005, "CS", charset.encode() + b" " * (len(charset) % 2)
        )
    else:
        header._dict.pop(Tag(0x00080005), None)
    return engine(profile).apply(header, syntax), planted


def raw_bytes(dataset: Dataset) -> bytes:
    """Return what a file of it would hold (explicit VR little endian)."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def survivors(dataset: Dataset) -> list[str]:
    raw = raw_bytes(dataset)
    decoded = "\n".join(_decoded(dcmread(BytesIO(raw), force=True)))
    left = [secret for secret in SECRETS if secret.lower() in decoded.lower()]
    for secret in SECRETS:
        for encoding in ENCODINGS:
            sought = secret.encode(encoding)  # two characters in UTF-16 read as ASCII by chance
            if len(sought) > 4 and re.search(re.escape(sought), raw, re.IGNORECASE):
                left.append(f"{secret} ({encoding})")
    return left


def _decoded(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _decoded(item)
        else:
            yield str(element.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("charset", CHARSETS)
def test_no_planted_identity_survives_in_the_wheels_files(charset):
    stored, planted = 0, 0
    files = WHEEL[list(CHARSETS).index(charset) % EVERY :: EVERY]

    for path in files:
        outcome, count = deidentified(path, charset)
        if isinstance(outcome, Deidentified):
            assert survivors(outcome.dataset) == [], path.name
            stored, planted = stored + 1, planted + count
        else:
            assert outcome.reason is not RefusalReason.UNREADABLE, (path.name, outcome)

    assert stored > len(files) * 0.9
    assert planted > stored * 500


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("profile", ["research-longitudinal", "device-qa"])
def test_looser_profiles_keep_no_planted_identity_either(profile):
    for path in WHEEL[::7]:
        outcome, _ = deidentified(path, "GB18030", profile)

        if isinstance(outcome, Deidentified):
            assert survivors(outcome.dataset) == [], path.name


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not REAL, reason=f"no real files in {SHARED}")
@pytest.mark.parametrize("charset", ["GB18030", "ISO_IR 100"])
def test_no_planted_identity_survives_in_real_files(charset):
    for path in REAL:
        outcome, _ = deidentified(path, charset)

        if isinstance(outcome, Deidentified):
            assert survivors(outcome.dataset) == [], path.name
        else:
            assert outcome.reason is not RefusalReason.UNREADABLE, (path.name, outcome)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", WHEEL + REAL, ids=lambda p: p.name)
def test_every_real_file_comes_through_or_is_refused_with_a_place(path):
    dataset = dcmread(path, force=True)
    name, identifier = str(dataset.get("PatientName", "")), str(dataset.get("PatientID", ""))
    syntax = UID(dataset.file_meta.get("TransferSyntaxUID", "1.2.840.10008.1.2"))

    outcome = engine("research-strict").apply(dataset, str(syntax))

    if isinstance(outcome, Refusal):
        assert outcome.place
        assert outcome.advice
        assert not name or name not in repr(outcome)
        assert len(identifier) < 5 or identifier not in repr(outcome)
        return
    assert outcome.dataset.PatientIdentityRemoved == "YES"
    assert outcome.dataset.PatientID == outcome.facts.patient
    assert outcome.original.patient_id == identifier.strip()
    assert not [
        tag for tag in outcome.dataset._dict if tag.is_private or 0x6000 <= tag.group <= 0x60FF
    ]
