import struct
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from gateway.deid.walk import (
    MAX_NESTING,
    NEED_MORE,
    Carried,
    Encoding,
    Found,
    Fragments,
    NotUnderstood,
    Walk,
    Why,
    check,
)

EXPLICIT = Encoding(implicit=False, big_endian=False)
IMPLICIT = Encoding(implicit=True, big_endian=False)
BIG = Encoding(implicit=False, big_endian=True)
ENCODINGS = [EXPLICIT, IMPLICIT, BIG]
SHIPPED = sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))
PIXELS = b"\x01\x02" * 40


def encoded(dataset, encoding):
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = encoding.implicit
    buffer.is_little_endian = not encoding.big_endian
    write_dataset(buffer, dataset)
    return bytes(buffer.getvalue())


def a_dataset(*, undefined=False, depth=3):
    item = Dataset()
    item.CodeValue = "T-D3000"
    for _ in range(depth):
        outer = Dataset()
        outer.AnatomicRegionSequence = Sequence([item])
        outer["AnatomicRegionSequence"].is_undefined_length = undefined
        item.is_undefined_length_sequence_item = undefined
        item = outer
    item.PatientName = "Doe^Jane"
    item.Rows = 8
    item.PixelData = PIXELS
    item["PixelData"].VR = "OW"
    return item


def walked(raw, encoding, step):
    walk = Walk(encoding)
    carried = Carried(walk)
    for at in range(0, len(raw), step):
        looked = carried.feed(memoryview(raw)[at : at + step])
        if looked != NEED_MORE:
            return looked
    return walk.ended(len(raw))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("step", [1, 3, 7, 64, 10_000])
def test_root_pixel_data_is_found_however_the_bytes_are_cut(encoding, undefined, step):
    raw = encoded(a_dataset(undefined=undefined), encoding)

    found = walked(raw, encoding, step)

    assert isinstance(found, Found)
    assert found.length == len(PIXELS)
    assert raw[found.value : found.value + len(PIXELS)] == PIXELS
    assert raw[found.element : found.element + 4] in {b"\xe0\x7f\x10\0", b"\x7f\xe0\0\x10"}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_pixel_data_inside_an_icon_is_not_the_roots(encoding):
    icon = Dataset()
    icon.PixelData = b"\0\0"
    icon["PixelData"].VR = "OB"
    dataset = Dataset()
    dataset.IconImageSequence = [icon]

    assert walked(encoded(dataset, encoding), encoding, 5) is None


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.name)
def test_it_agrees_with_pydicom_about_every_shipped_file(path):
    raw = path.read_bytes()
    dataset = dcmread(path, force=True)
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None or syntax.is_deflated or raw[132:136] != b"\x02\0\0\0":
        pytest.skip("no file meta group length to start from, or deflated")
    body = raw[144 + int.from_bytes(raw[140:144], "little") :]

    found = walked(body, Encoding(syntax.is_implicit_VR, not syntax.is_little_endian), 100)

    if "PixelData" in dataset and not isinstance(found, NotUnderstood):
        assert isinstance(found, Found)
        assert body[found.value :].startswith(dataset.PixelData[:64])
    elif isinstance(found, NotUnderstood):
        assert path.name in {"SC_rgb_jpeg.dcm", "rtplan_truncated.dcm"}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_nesting_is_bounded_before_anyone_recurses(encoding):
    deep = encoded(a_dataset(depth=MAX_NESTING + 1), encoding)
    allowed = encoded(a_dataset(depth=MAX_NESTING - 1), encoding)

    assert walked(deep, encoding, 10_000) == NotUnderstood(Why.NESTING)
    assert isinstance(walked(allowed, encoding, 10_000), Found)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_cut_is_noticed(encoding):
    dataset = a_dataset()
    del dataset.PixelData
    raw = encoded(dataset, encoding)
    whole = {0, *boundaries(encoding), len(raw)}

    for end in range(len(raw)):
        assert (walked(raw[:end], encoding, 10_000) is None) is (end in whole)


def boundaries(encoding):
    """Offsets at which a root element begins."""
    dataset = a_dataset()
    del dataset.PixelData
    at, found = 0, []
    for tag in sorted(dataset.keys()):
        part = Dataset()
        part[tag] = dataset[tag]
        at += len(encoded(part, encoding))
        found.append(at)
    return found


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (struct.pack("<HH2sH", 8, 5, b"\0\0", 0), Why.VR),
        (struct.pack("<HH2sHHH2sH", 8, 6, b"CS", 0, 8, 5, b"CS", 0), Why.ORDER),
        (struct.pack("<HHI", 0xFFFE, 0xE000, 0), Why.ITEM),
        (struct.pack("<HH2sHI", 0x7FE0, 8, b"OF", 0, 4), Why.FLOAT_PIXELS),
        (struct.pack("<HH2sHI", 0x7FE0, 9, b"OD", 0, 8), Why.FLOAT_PIXELS),
        (struct.pack("<HH2sHI", 0x7FE0, 0x10, b"UN", 0, 8), Why.PIXEL_VR),
        (struct.pack("<HH2sHI", 8, 0x1111, b"OB", 0, 0xFFFFFFFF), Why.LENGTH),
        # an item longer than the sequence it is in
        (struct.pack("<HH2sHIHHI", 8, 0x1111, b"SQ", 0, 8, 0xFFFE, 0xE000, 20), Why.LENGTH),
    ],
)
def test_what_it_does_not_understand_it_says(raw, why):
    assert Walk(EXPLICIT).look(raw) == NotUnderstood(why)


def test_a_sequence_of_unknown_vr_is_read_as_implicit():
    inner = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    inner += struct.pack("<HHI", 0x0008, 0x0100, 4) + b"ABCD"
    inner += struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    raw = struct.pack("<HH2sHI", 0x0009, 0x1010, b"UN", 0, 0xFFFFFFFF) + inner

    assert check(raw, EXPLICIT) is None


def test_fragments_end_at_their_delimiter_wherever_chunks_end():
    value = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    value += struct.pack("<HHI", 0xFFFE, 0xE000, 10) + b"\xfe\xff\xdd\xe0\0\0\0\0zz"
    value += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    behind = b"\xfc\xff\xfc\xffOB\0\0\2\0\0\0\0\0"

    for step in range(1, len(value) + len(behind)):
        fragments = Fragments()
        carried = Carried(fragments)
        for at in range(0, len(value + behind), step):
            if carried.feed(memoryview(value + behind)[at : at + step]) is None:
                break
        assert fragments.end == len(value)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(ENCODINGS), st.integers(1, 50))
def test_no_bytes_make_it_raise_or_disagree_with_itself(raw, encoding, step):
    assert walked(raw, encoding, step) == walked(raw, encoding, 1000)


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from(ENCODINGS))
def test_damage_never_makes_it_raise(data, encoding):
    raw = bytearray(encoded(a_dataset(undefined=data.draw(st.booleans())), encoding))
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))

    check(bytes(raw), encoding)
    walked(bytes(raw), encoding, 11)
