"""Where an identity can hide in a dataset: by the standard's own tables, and outside of them."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

from tests.planting.people import Mention, Patient, births, fold
from tests.planting.writing import keeps, spell

ROOM = {
    "LO": 64,
    "SH": 16,
    "ST": 900,
    "LT": 900,
    "UT": 900,
    "UC": 300,
    "CS": 16,
    "AE": 16,
    "PN": 60,
    "UR": 200,
    "DS": 16,
    "IS": 12,
    "AS": 4,
    "DA": 8,
    "TM": 14,
    "DT": 26,
    "UI": 64,
}
BYTES = frozenset({"OB", "OW", "UN", "OF", "OD", "OL", "OV"})
# What makes the file that file; and pixels, which have places of their own.
STRUCTURE = frozenset(
    tag_for_keyword(keyword)
    for keyword in (
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SpecificCharacterSet",
        "PixelData",
        "FloatPixelData",
        "DoubleFloatPixelData",
        "Modality",
        "ImageType",
        "BurnedInAnnotation",
        "PhotometricInterpretation",
        "PatientSex",
        "PatientName",
        "PatientID",
        "StudyDate",
        "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths",
        "NumberOfFrames",
        "TransferSyntaxUID",
        "PixelRepresentation",
    )
)
MEDICINE = (
    "胸部平扫",
    "增强",
    "薄层",
    "CHEST W/O CONTRAST",
    "T1 MPRAGE iso 1.0mm",
    "腹部三期增强",
    "FLAIR sag",
    "骨窗 1.25mm",
)


@dataclass(frozen=True)
class Plant:
    """One identity in one place."""

    place: str
    mention: Mention


class Planter:
    """Plants into one dataset; `seen` tells what was planted where."""

    def __init__(
        self, person: Patient, codec: str, supply: Iterator[Mention], dice: random.Random
    ) -> None:
        self.person = person
        self.seen: list[Plant] = []
        self.spoken: dict[int, str] = {}  # medicine and identity side by side, at the root
        self.root: Dataset | None = None
        self._codec = codec
        self._supply = supply
        self._dice = dice

    def take(self, place: str) -> str:
        mention = next(self._supply)
        self.seen.append(Plant(place, mention))
        return mention.text

    def text(self, dataset: Dataset, tag: int, vr: str, place: str) -> None:
        """Put a mention where text may stand, in the midst of medicine where there is room."""
        value = self.take(place)
        if vr in ("LO", "ST", "LT", "UT", "UC") and self._dice.random() < 0.5:
            value = f"{self._dice.choice(MEDICINE)} {value}"
            value += f" {self._dice.choice(MEDICINE)}" * self._dice.randrange(2)
            if dataset is self.root and len(value) <= ROOM[vr] and self._fits(value, ROOM[vr] - 12):
                self.spoken[tag] = value
        if vr in ("UI", "DS", "IS", "CS", "AE") and self._dice.random() < 0.5:
            value = {
                "UI": self.person.root + ".7.1",
                "CS": fold(value).upper(),
                "AE": fold(value).upper(),
            }.get(vr, self.person.number)
        self.raw(dataset, tag, vr, _cut(spell(value, self._codec), ROOM[vr]))

    def _fits(self, value: str, room: int) -> bool:
        """Say whether its charset has it all, and a patient's name beside it."""
        return keeps(value, self._codec) and len(spell(value, self._codec)) <= room

    def binary(self, dataset: Dataset, tag: int, vr: str, place: str) -> None:
        value = spell(self.take(place), self._codec)
        self.raw(dataset, tag, vr, b"\0\1\2\3" + value + bytes(-(len(value) + 4) % 8))

    def raw(self, dataset: Dataset, tag: int, vr: str, value: bytes) -> None:
        value += (b"\0" if vr in BYTES or vr == "UI" else b" ") * (len(value) % 2)
        dataset._dict[BaseTag(tag)] = RawDataElement(
            BaseTag(tag), vr, len(value), value, 0, is_implicit_VR=False, is_little_endian=True
        )

    def put(self, dataset: Dataset, tag: int, place: str) -> None:
        """Put a mention into any attribute of the dictionary."""
        vr = DicomDictionary[tag][0].split(" or ")[-1]
        if vr in ROOM:
            self.text(dataset, tag, vr, place)
        elif vr in BYTES:
            self.binary(dataset, tag, vr, place)


def _cut(raw: bytes, room: int) -> bytes:
    return raw[: room + room % 2]


def tell(dataset: Dataset, planter: Planter) -> None:
    """Say in the header whom the instance is about, as headers do."""
    person = planter.person
    told = {
        "PatientName": person.pn,
        "PatientID": person.number,
        "AccessionNumber": person.accession[:16],
        "PatientBirthDate": births(person)[0],
        "ReferringPhysicianName": person.doctor,
        "InstitutionName": person.hospital,
        "InstitutionAddress": person.address,
        "InstitutionalDepartmentName": person.ward,
        "PatientTelephoneNumbers": person.mobile[:16],
    }
    for keyword, value in told.items():
        tag = tag_for_keyword(keyword)
        planter.raw(dataset, tag, dictionary_VR(tag), spell(value, planter._codec))


def plant(dataset: Dataset, planter: Planter, dice: random.Random, share: float = 1.0) -> None:
    """Plant in every kind of place."""
    planter.root = dataset
    for where in PLACES:
        where(dataset, planter, dice, share)
    tell(dataset, planter)


def _dictionary(dataset: Dataset, planter: Planter, dice: random.Random, share: float) -> None:
    everything = [
        tag for tag in DicomDictionary if tag >> 16 not in (0, 2, 4) and tag not in STRUCTURE
    ]
    for tag in dice.sample(everything, int(120 * share)):
        planter.put(dataset, tag, "any attribute")


def _own(dataset: Dataset, planter: Planter, dice: random.Random, share: float) -> None:
    """Attributes the IOD has at its root."""
    own = sorted({tag for tag, path in _iod(str(dataset.SOPClassUID)) if not path})
    chosen = [tag for tag in own if _takes_text(tag) and tag not in STRUCTURE]
    for tag in dice.sample(chosen, min(len(chosen), int(90 * share))):
        planter.put(dataset, tag, "its IOD's attribute")


def _nested(dataset: Dataset, planter: Planter, dice: random.Random, share: float) -> None:
    """Attributes the IOD has in sequences: SR content, segments, ROIs, graphics, waveforms."""
    paths = [
        (tag, path)
        for tag, path in _iod(str(dataset.SOPClassUID))
        if path and len(path) < 6 and _takes_text(tag)
    ]
    for tag, path in dice.sample(paths, min(len(paths), int(90 * share))):
        here = dataset
        for sequence in path:
            items = here[sequence].value if sequence in here and here[sequence].VR == "SQ" else None
            if not items:
                here.add(DataElement(Tag(sequence), "SQ", Sequence([Dataset()])))
                items = here[sequence].value
            here = items[dice.randrange(len(items))]
        planter.put(here, tag, "nested in its IOD")


def _private(dataset: Dataset, planter: Planter, dice: random.Random, _share: float) -> None:
    for group, creator in (
        (0x0009, "GEMS_IDEN_01"),
        (0x0029, "SIEMENS CSA HEADER"),
        (0x0099, planter.take("private creator")),
    ):
        planter.raw(dataset, group << 16 | 0x10, "LO", spell(creator, planter._codec)[:64])
        for number, vr in enumerate(("LO", "PN", "UT", "OB", "UN", "DS", "UI"), 1):
            which = planter.binary if vr in BYTES else planter.text
            which(dataset, group << 16 | 0x1000 | number, vr, "private")
        inner = Dataset()
        planter.text(inner, 0x00100010, "PN", "private sequence")
        planter.text(inner, 0x00081030, "LO", "private sequence")
        dataset.add(DataElement(Tag(group << 16 | 0x1020), "SQ", Sequence([inner])))
        dataset[Tag(group << 16 | 0x1020)].is_undefined_length = dice.random() < 0.5


def _unknown_groups(dataset: Dataset, planter: Planter, dice: random.Random, _share: float) -> None:
    for _ in range(8):
        tag = dice.choice(
            [0x0016, 0x001A, 0x0030, 0x0044, 0x1234, 0x4010, 0x5678, 0x7FDE, 0xFFF0]
        ) << 16 | dice.randrange(1, 0xFFFF)
        if tag not in DicomDictionary:
            planter.text(dataset, tag, dice.choice(["LO", "PN", "UT"]), "unknown group")
    for number in range(4):
        planter.text(
            dataset, 0x00180000 | 0xFF00 + number, "LO", "unknown attribute of a known group"
        )


def _repeating(dataset: Dataset, planter: Planter, dice: random.Random, _share: float) -> None:
    group = 0x6000 + 2 * dice.randrange(16)
    for tag, vr in ((0x22, "LO"), (0x1500, "LO"), (0x3000, "OW"), (0x4000, "LT")):
        (planter.binary if vr == "OW" else planter.text)(dataset, group << 16 | tag, vr, "overlay")
    group = 0x5000 + 2 * dice.randrange(16)
    for tag, vr in ((0x22, "LO"), (0x30, "SH"), (0x2500, "LO"), (0x3000, "OW"), (0x2610, "US")):
        (planter.text if vr in ROOM else planter.binary)(
            dataset, group << 16 | tag, "OW" if vr == "US" else vr, "curve"
        )


def _witnesses(dataset: Dataset, planter: Planter, _dice: random.Random, _share: float) -> None:
    """What was changed, what was signed, what was there before."""
    for path, tag, vr in (
        ((0x04000561, 0x04000550), 0x00100010, "PN"),
        ((0x04000561,), 0x04000563, "LO"),
        ((0x04000561,), 0x04000564, "LO"),
        ((0xFFFAFFFA,), 0x04000120, "OB"),
        ((0xFFFAFFFA,), 0x04000115, "OB"),
        ((0x4FFE0001,), 0x04000404, "OB"),
        ((0x00880200,), 0x00204000, "LT"),
        ((0x00880200,), 0x7FE00010, "OW"),
        ((0x00080110,), 0x00080116, "ST"),
        ((0x00400275,), 0x00400007, "LO"),
        ((0x00081032,), 0x00080104, "LO"),
        ((0x00081140, 0x0040A170), 0x00080104, "LO"),
    ):
        inner = Dataset()
        (planter.binary if vr in BYTES else planter.text)(inner, tag, vr, "witness")
        for sequence in reversed(path):
            outer = Dataset()
            outer.add(DataElement(Tag(sequence), "SQ", Sequence([inner])))
            inner = outer
        dataset.update({path[0]: inner[path[0]]})


def _tail(dataset: Dataset, planter: Planter, _dice: random.Random, _share: float) -> None:
    planter.binary(dataset, 0xFFFCFFFC, "OB", "trailing padding")


PLACES: tuple[Callable[[Dataset, Planter, random.Random, float], None], ...] = (
    _dictionary,
    _own,
    _nested,
    _private,
    _unknown_groups,
    _repeating,
    _witnesses,
    _tail,
)


def _takes_text(tag: int) -> bool:
    entry = DicomDictionary.get(tag)
    return entry is not None and entry[0].split(" or ")[-1] in ROOM.keys() | BYTES


@cache
def _standard() -> tuple[dict, dict, dict]:
    found = find_spec("highdicom")
    folder = Path(found.origin).parent / "_standard"
    return tuple(
        json.loads((folder / f"{name}.json").read_text("utf-8"))
        for name in ("sop_class_iod_map", "iod_module_map", "module_attribute_map")
    )


@cache
def _iod(sop_class_uid: str) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """Return the attributes of an IOD with the sequences they stand in."""
    classes, iods, modules = _standard()
    found = set()
    for module in iods.get(classes.get(sop_class_uid, ""), ()):
        for attribute in modules.get(module["key"], ()):
            path = tuple(tag_for_keyword(keyword) for keyword in attribute["path"])
            tag = tag_for_keyword(attribute["keyword"])
            if tag is not None and None not in path:
                found.add((tag, path))
    return tuple(sorted(found))
