"""Real files from the pydicom wheel, an invented patient planted wherever a name can hide."""

import random
import re
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ImplicitVRLittleEndian
from pydicom.valuerep import PersonName

from deploy.demo.people import Person, make_person

# What a hospital's archive holds: modalities, native and compressed, little and big endian.
FILES = (
    "CT_small.dcm",
    "693_J2KI.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "MR_small.dcm",
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "ExplVR_BigEnd.dcm",
    "examples_ybr_color.dcm",
    "JPGExtended.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_small_odd_big_endian.dcm",
    "dicomdirtests/77654033/CR1/6154",
    "rtplan.dcm",
    "rtdose.dcm",
    "rtdose_expb.dcm",
    "rtstruct.dcm",
    "test-SR.dcm",
    "reportsi.dcm",
    "liver_1frame.dcm",
    "waveform_ecg.dcm",
)
CHARSETS = (
    ["ISO_IR 100"],
    ["GB18030"],
    ["ISO_IR 192"],
    ["", "ISO 2022 IR 58"],
    ["GBK"],
)
PYTHON_CODECS = {"ISO_IR 100": "latin-1", "GB18030": "gb18030", "ISO_IR 192": "utf-8", "GBK": "gbk"}
PRIVATE_GROUP, CREATOR = 0x0029, "RADFED DEMO 1"
IDEOGRAPHS = re.compile(r"[^\x00-\x7f]+")
TEXT = frozenset({"LO", "SH", "ST", "LT", "UT", "UC", "PN"})
UNLISTED = 0x0019_1234  # private without a creator: nobody's, and in no table
UNKNOWN_EVEN = 0x0018_FFF0  # a standard group, an element no edition of the standard has


@dataclass(frozen=True, slots=True)
class PlantedFile:
    """One file ready to be pushed, and every text in it that must never be seen again."""

    source: str
    dataset: Dataset
    traces: tuple[str, ...]


def plant_all(seed: str) -> Iterator[PlantedFile]:
    """Yield a copy of every file with its own invented patient; the same for the same seed."""
    rng = random.Random(f"radfed demo {seed}")  # noqa: S311 - invented people, not secrets
    for number, name in enumerate(FILES):
        yield plant(name, make_person(rng), CHARSETS[number % len(CHARSETS)], rng)


def plant(name: str, person: Person, charset: list[str], rng: random.Random) -> PlantedFile:
    """Read one file of the wheel and make it this person's, in this character set."""
    han = charset != ["ISO_IR 100"]
    if han:  # with ideographs, the alphabetic component group is their pinyin
        person = replace(person, name=person.pinyin.replace(" ", "^"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel's files are odd on purpose
        dataset = _read(name)
        _recode(dataset, charset)
        uids = _own_uids(dataset, rng)
        _plant_attributes(dataset, person, han=han)
        if charset[-1] == "ISO 2022 IR 58":
            _escape(dataset)
    return PlantedFile(name, dataset, (*person.traces(), *uids))


def encoded(dataset: Dataset) -> bytes:
    """Return the file's bytes: preamble, meta and dataset in its own transfer syntax."""
    out = BytesIO()
    with warnings.catch_warnings(), _lenient():
        warnings.simplefilter("ignore")
        dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _read(name: str) -> Dataset:
    path = Path(pydicom.__file__).parent / "data" / "test_files" / name
    dataset = pydicom.dcmread(path, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:  # rtstruct.dcm came without its meta
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    return dataset


def _recode(dataset: Dataset, charset: list[str]) -> None:
    """Decode every text under the old character set, then declare the new one everywhere."""
    for _ in dataset.iterall():
        pass
    dataset.decode()
    for element in list(dataset.iterall()):
        if element.VR == "SQ":
            for item in element.value:
                item.pop("SpecificCharacterSet", None)
    codec = PYTHON_CODECS.get(charset[-1], "gb2312")
    for element in dataset.iterall():
        if element.VR in TEXT and not _fits(element, codec):
            element.value = ""
    dataset.SpecificCharacterSet = charset if len(charset) > 1 else charset[0]


def _fits(element: DataElement, codec: str) -> bool:
    try:
        str(element.value).encode(codec)
    except UnicodeEncodeError:
        return False
    return True


def _own_uids(dataset: Dataset, rng: random.Random) -> list[str]:
    """Give the file UIDs of its own: they lead to a patient as surely as a name does."""
    uids = [f"1.2.826.0.1.3680043.8.498.{rng.randrange(10**19, 10**20)}" for _ in range(3)]
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = map(UID, uids)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return uids


def _plant_attributes(dataset: Dataset, person: Person, *, han: bool) -> None:
    both = f"{person.name}={person.name_han[:2]}^{person.name_han[2:]}" if han else person.name
    place = person.address_han if han else person.address
    house = person.institution_han if han else person.institution
    doctor = f"{person.physician}={person.physician_han}" if han else person.physician
    # As people write names: ideographs and their pinyin, or the given name first.
    plain = " ".join(reversed(person.name.split("^")))
    written = f"{person.name_han} {person.pinyin}" if han else plain
    dataset.PatientName, dataset.PatientID = both, person.patient_id
    dataset.PatientBirthDate = person.birth_date
    dataset.OtherPatientIDs = [person.national_id, person.phone]
    dataset.PatientAddress = place
    dataset.PatientTelephoneNumbers = person.phone
    dataset.ReferringPhysicianName = dataset.OperatorsName = doctor
    dataset.InstitutionName, dataset.InstitutionAddress = house, place
    dataset.AccessionNumber = person.accession
    # Free text, where people write what they know.
    dataset.StudyDescription = f"{written} {person.phone}"
    dataset.PatientComments = f"{written}, {person.national_id}, {person.email}, {place}"
    dataset.RequestAttributesSequence = Sequence([_request(person, written)])
    _plant_private(dataset, person, written)
    with _lenient():
        dataset.add(DataElement(UNKNOWN_EVEN, "LO", f"{written} {person.patient_id}"))
        dataset.add(DataElement(UNLISTED, "LO", f"{written} {person.national_id}"))


def _request(person: Person, written: str) -> Dataset:
    """Return a request item whose own nested items carry the patient on."""
    other = Dataset()
    other.PatientID, other.IssuerOfPatientID = person.national_id, person.institution
    request = Dataset()
    request.RequestedProcedureDescription = f"for {written}"
    request.ReasonForTheRequestedProcedure = person.email
    request.OtherPatientIDsSequence = Sequence([other])
    return request


def _plant_private(dataset: Dataset, person: Person, written: str) -> None:
    """Fill a private block with text, bytes and a nested sequence (PS3.5 7.8)."""
    block = dataset.private_block(PRIVATE_GROUP, CREATOR, create=True)
    block.add_new(0x01, "LO", written)
    block.add_new(0x02, "OB", _even(f"{person.name} {person.name_han}".encode("gb18030")))
    block.add_new(0x03, "UN", _even(f"{person.patient_id} {person.name_han}".encode()))
    nested = Dataset()
    nested.PatientName, nested.PatientID = person.name, person.patient_id
    nested_block = nested.private_block(PRIVATE_GROUP, CREATOR, create=True)
    nested_block.add_new(0x05, "LO", person.email)
    block.add_new(0x04, "SQ", Sequence([nested]))


def _even(value: bytes) -> bytes:
    return value + b" " * (len(value) % 2)


def _escape(dataset: Dataset) -> None:
    """Write ideographs as PS3.5 Annex K shows: ESC $ ) A, then GB 2312: pydicom does not."""
    for element in dataset.iterall():
        if element.VR in TEXT and IDEOGRAPHS.search(str(element.value)):
            raw = IDEOGRAPHS.sub(lambda run: "\x1b$)A" + run[0], str(element.value))
            with _lenient():
                coded = raw.encode("gb2312")
                element.value = PersonName(coded, ["iso8859"]) if element.VR == "PN" else coded


def _lenient() -> AbstractContextManager[None]:
    """Let pydicom hold what a hospital's devices do send."""
    return config.disable_value_validation()
