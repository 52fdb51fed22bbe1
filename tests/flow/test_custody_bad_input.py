"""Headers no device should send: cleaned or quarantined with a reason; never passed on."""

import random
from dataclasses import replace
from struct import pack

import pytest
from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from gateway.line.custody import VerdictKind
from tests.fakes.custody_house import House, Instance, dataset_of, shipped, written

pytestmark = pytest.mark.flow
NAME = "Featherstone^Quentin"
FORMS = ["CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm"]


def element(tag, vr, value, *, implicit=False, length=None, order="<"):
    head = pack(order + "HH", tag >> 16, tag & 0xFFFF)
    size = len(value) if length is None else length
    if implicit:
        return head + pack(order + "I", size) + value
    if vr in (b"UN", b"SQ", b"OB", b"UT", b"UC", b"UR", b"OW"):
        return head + vr + b"\0\0" + pack(order + "I", size) + value
    return head + vr + pack(order + "H", size) + value


def named(form="CT_small.dcm", **elements):
    instance = shipped(form)
    dataset = dataset_of(instance)
    dataset.PatientName = NAME
    for keyword, value in elements.items():
        tag = Tag(keyword)
        raw = "\\".join([value] if isinstance(value, str) else value).encode()
        raw += b" " * (len(raw) % 2)
        dataset._dict[tag] = RawDataElement(
            tag,
            dictionary_VR(tag),
            len(raw),
            raw,
            0,
            form.endswith("implicit.dcm"),
            "big" not in form,
        )
    return written(dataset, instance)


def before_pixels(instance: Instance, *parts: bytes) -> Instance:
    """Put bytes between the header and Pixel Data, or before group 0029 where there is one."""
    at = instance.raw.rindex(
        b"\xe0\x7f\x10\x00" if b"\xe0\x7f\x10\x00" in instance.raw else b"\x7f\xe0\x00\x10"
    )
    return replace(instance, raw=instance.raw[:at] + b"".join(parts) + instance.raw[at:])


def deep(levels: int, *, implicit: bool) -> bytes:
    """A name at the bottom of sequences of undefined length."""
    inside = element(0x00100010, b"PN", NAME.encode(), implicit=implicit)
    open_ = element(0x00081140, b"SQ", b"", implicit=implicit, length=0xFFFFFFFF) + pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    close = pack("<HHI", 0xFFFE, 0xE00D, 0) + pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return open_ * levels + inside + close * levels


def settle(tmp_path, instance):
    """Take it in by both ways a receiver may see it; nothing may be left in the clear anywhere."""
    house = House(tmp_path)
    verdict = house.take(instance, 1777)
    line = house.line(house.index())
    while line.run_once():
        pass
    line.close()
    written = house.everything_written()
    for codec in ("utf-8", "utf-16-le", "utf-16-be"):
        assert NAME.split("^", maxsplit=1)[0].encode(codec).lower() not in written.lower()
    assert NAME not in repr(house.trail.events)
    held = house.vault.list()
    if verdict.kind is VerdictKind.REJECTED:
        assert verdict.reason
    else:
        assert len(house.files()) + len(held) == 1
    for entry in held:
        assert entry.reason
        assert "Traceback" not in entry.reason
    return house, held


@pytest.mark.parametrize("levels", [10, 63, 65, 249, 10_000])
@pytest.mark.parametrize("form", FORMS[:2])
def test_sequences_in_sequences(tmp_path, levels, form):
    instance = named(form)
    place = deep(levels, implicit="implicit" in form)
    ends = instance.raw.index(pack("<HH", 0x0010, 0x0010))
    house, held = settle(
        tmp_path, replace(instance, raw=instance.raw[:ends] + place + instance.raw[ends:])
    )

    assert len(house.files()) == (levels <= 63)
    assert len(held) == (levels > 63)


@pytest.mark.parametrize("form", FORMS[:2])
def test_un_of_undefined_length_with_implicit_vr_inside(tmp_path, form):
    inside = element(0x00100010, b"PN", NAME.encode(), implicit=True)
    value = pack("<HHI", 0xFFFE, 0xE000, len(inside)) + inside + pack("<HHI", 0xFFFE, 0xE0DD, 0)
    implicit = "implicit" in form

    house, _ = settle(
        tmp_path,
        before_pixels(
            named(form), element(0x70030010, b"UN", value, length=0xFFFFFFFF, implicit=implicit)
        ),
    )

    assert len(house.files()) == 1


@pytest.mark.parametrize(
    ("tag", "vr"),
    [
        (0x00081030, b"OB"),
        (0x0008103E, b"UN"),
        (0x00181030, b"SQ"),
        (0x00200010, b"DS"),
        (0x00201041, b"PN"),
        (0x00280030, b"LO"),
        (0x00180050, b"PN"),
        (0x00080060, b"UT"),
        (0x00081140, b"LO"),
        (0x0020000D, b"LO"),
        (0x00280010, b"LO"),
        (0x00080018, b"ZZ"),
    ],
)
def test_a_vr_that_contradicts_the_dictionary(tmp_path, tag, vr):
    instance = named()
    dataset = dataset_of(instance)
    if tag in dataset:
        del dataset[tag]
    rest = (
        written(dataset, instance, sop_instance_uid=instance.arrival.sop_instance_uid)
        if tag != 0x00080018
        else instance
    )
    value = NAME.encode()
    raw, at = rest.raw, 0
    while True:  # the first root element behind its place
        group, number, code, short = (
            *(int.from_bytes(raw[at + n : at + n + 2], "little") for n in (0, 2)),
            raw[at + 4 : at + 6],
            int.from_bytes(raw[at + 6 : at + 8], "little"),
        )
        if group << 16 | number > tag:
            break
        long = code in (b"UN", b"SQ", b"OB", b"UT", b"OW")
        at += 12 + int.from_bytes(raw[at + 8 : at + 12], "little") if long else 8 + short

    settle(tmp_path, replace(rest, raw=raw[:at] + element(tag, vr, value) + raw[at:]))


@pytest.mark.parametrize("length", [0xFFFFFFFE, 1 << 30, 5000, 0x7FFFFFFF])
@pytest.mark.parametrize("vr", [b"UT", b"UN", b"OB", b"SQ"])
def test_lengths_past_the_end(tmp_path, length, vr):
    house, held = settle(
        tmp_path, before_pixels(named(), element(0x70030010, vr, NAME.encode(), length=length))
    )

    assert len(held) == 1 or not house.files()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "elements",
    [
        {"StudyInstanceUID": ""},
        {"SeriesInstanceUID": ""},
        {"StudyDate": "2019-13-45"},
        {"StudyDate": NAME},
        {"StudyTime": NAME},
        {"AcquisitionDateTime": NAME},
        {"PatientBirthDate": NAME},
        {"PatientAge": NAME},
        {"SliceThickness": NAME},
        {"InstanceNumber": NAME},
        {"SpecificCharacterSet": NAME},
        {"FrameOfReferenceUID": NAME},
        {"ImageType": [NAME] * 3},
        {"SoftwareVersions": NAME},
    ],
)
def test_values_that_are_none(tmp_path, form, elements):
    settle(tmp_path, named(form, **elements))


def test_a_missing_class_is_refused_or_rejected(tmp_path):
    instance = named()
    dataset = dataset_of(instance)
    del dataset.SOPClassUID

    house, _ = settle(tmp_path, written(dataset, instance))

    assert house.files() == []


def test_a_tag_that_comes_twice_is_cleaned_both_times(tmp_path):
    instance = named()
    again = element(0x00100010, b"PN", NAME.encode()) * 2

    settle(tmp_path, before_pixels(instance, again))


@pytest.mark.parametrize("trail", ["\\", "^", "|", "@"])
def test_gbk_characters_whose_second_byte_is_a_separator(tmp_path, trail):
    """PS3.5 6.1.2.3: they are decoded before anything is split."""
    character = next(
        one
        for high in range(0x81, 0xFE)
        if len(one := bytes((high, ord(trail))).decode("gbk", "ignore")) == 1
    )
    instance = shipped("CT_small.dcm")
    dataset = dataset_of(instance)
    dataset.SpecificCharacterSet = "GBK"
    dataset.PatientName = f"张{character}"
    dataset.SeriesDescription = f"胸部平扫 张{character} 增强"

    house, _ = settle(tmp_path, written(dataset, instance))

    (file,) = house.files()
    assert dcmread(file).SeriesDescription == "胸部平扫 增强"


@pytest.mark.parametrize("codec", ["utf-8", "gb18030", "utf-16-le", "shift_jis", "latin-1"])
@pytest.mark.parametrize(
    "declared", ["ISO_IR 100", "ISO_IR 192", "GB18030", "ISO 2022 IR 87", "nonsense", ""]
)
def test_text_that_cannot_be_decoded(tmp_path, codec, declared):
    instance = named(SeriesDescription="#" * 40)
    raw = instance.raw.replace(
        b"#" * 40, (f"{NAME} 胸部".encode(codec, "ignore") + b"\xff\x81\x1b$" * 10)[:40]
    )
    dataset = dataset_of(replace(instance, raw=raw))
    dataset.SpecificCharacterSet = declared

    settle(tmp_path, written(dataset, instance))


def test_a_private_blob_longer_than_the_header_may_be(tmp_path):
    blob = random.Random(5).randbytes(9 << 20) + NAME.encode()
    parts = (
        element(0x70030010, b"LO", b"SHY"),
        element(0x70031001, b"OB", blob + b"\0" * (len(blob) % 2)),
    )

    house, _ = settle(tmp_path, before_pixels(named(), *parts))

    (file,) = house.files()
    assert file.stat().st_size < 1 << 20


@pytest.mark.parametrize(
    "syntax", ["1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.112", "1.2.840.10008.1.2.8.1"]
)
def test_syntaxes_that_pydicom_does_not_write(tmp_path, syntax):
    jpeg = named("JPEG-lossy.dcm")
    start = jpeg.raw.index(b"\xff\xd8\xff")
    raw = jpeg.raw[:start] + b"\xff\x0a" + jpeg.raw[start + 2 :]

    settle(
        tmp_path, replace(jpeg, raw=raw, arrival=replace(jpeg.arrival, transfer_syntax_uid=syntax))
    )
