"""What stands beside the picture in compressed frames is blanked; the picture stays to the bit."""

import io
from struct import pack

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file

from gateway.deid.codestream import Frames, NotFrames, blanked
from gateway.deid.spare import Layout, SpareBits

NAME = "Featherstone^Quentin 张晓明".encode()
JPEG, JPEG_2000, RLE = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"
PLAIN = [
    "JPEG2000.dcm",
    "JPEG-lossy.dcm",
    "MR_small_RLE.dcm",
    "SC_rgb_jpeg.dcm",
    "JPEGLSNearLossless_08.dcm",
]


def item(body):
    body += b"\0" * (len(body) % 2)
    return pack("<HHI", 0xFFFE, 0xE000, len(body)) + body


def value(*fragments):
    return item(b"") + b"".join(map(item, fragments)) + b"\xfe\xff\xdd\xe0\0\0\0\0"


def segment(marker, payload):
    return bytes((0xFF, marker)) + pack(">H", 2 + len(payload)) + payload


def jpeg(*segments, tail=b"", **options):
    buffer = io.BytesIO()
    Image.fromarray(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)).save(buffer, **options)
    raw = buffer.getvalue()
    return raw[:2] + b"".join(segments) + raw[2:] + tail


def picture(raw):
    return np.asarray(Image.open(io.BytesIO(raw)))


@pytest.mark.parametrize("marker", [0xFE, 0xE1, 0xE2, 0xED, 0xEF, 0xE0, 0xEE, 0xE8])
def test_comments_and_application_data_of_jpeg_are_blanked(marker):
    sent = jpeg(segment(marker, NAME), format="JPEG")

    stored = blanked(value(sent), JPEG)

    assert NAME not in stored
    assert len(stored) == len(value(sent))
    assert (picture(stored[16:]) == picture(sent)).all()


def test_a_comment_of_jpeg_2000_is_blanked_and_an_encoders_own_stays():
    sent = jpeg(format="JPEG2000", no_jp2=True)
    at = 4 + int.from_bytes(sent[4:6])  # behind SIZ
    planted = sent[:at] + segment(0x64, b"\0\1" + NAME) + sent[at:]

    stored = blanked(value(planted), JPEG_2000)

    assert NAME not in stored
    assert b"OpenJPEG" in stored
    assert (picture(stored[16:]) == picture(planted)).all()


@pytest.mark.parametrize("marker", [0xC8, 0xDE, 0xDF, 0xF0, 0xF9, 0xFD])
def test_segments_no_decoder_reads_are_blanked(marker):
    stored = blanked(value(jpeg(segment(marker, NAME), format="JPEG")), JPEG)

    assert NAME not in stored


@pytest.mark.parametrize("marker", [0xC0, 0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, 0xF7, 0xF8])
def test_a_table_that_is_longer_than_it_says_is_refused(marker):
    with pytest.raises(NotFrames):
        blanked(value(jpeg(segment(marker, NAME), format="JPEG")), JPEG)


@pytest.mark.parametrize("marker", [0x54, 0x62, 0x65, 0x66, 0x6F, 0x70, 0x8F])
def test_segments_no_decoder_of_jpeg_2000_reads_are_blanked(marker):
    sent = jpeg(format="JPEG2000", no_jp2=True)
    at = 4 + int.from_bytes(sent[4:6])
    planted = sent[:at] + segment(marker, NAME) + sent[at:]

    stored = blanked(value(planted), JPEG_2000)

    assert NAME not in stored
    assert (picture(stored[16:]) == picture(sent)).all()


@pytest.mark.parametrize("kind", [b"xml ", b"uuid", b"uinf", b"free"])
def test_boxes_of_text_are_blanked(kind):
    sent = jpeg(format="JPEG2000")
    at = sent.index(b"jp2c") - 4
    planted = sent[:at] + pack(">I", 8 + len(NAME)) + kind + NAME + sent[at:] + NAME

    stored = blanked(value(planted), JPEG_2000)

    assert NAME not in stored
    assert (picture(stored[16:]) == picture(sent)).all()


@pytest.mark.parametrize("cut", [8, 12, 30, 45])
def test_a_comment_cut_by_the_end_of_a_fragment_is_blanked(cut):
    sent = jpeg(segment(0xFE, NAME), tail=NAME, format="JPEG")

    stored = blanked(value(sent[: cut - cut % 2], sent[cut - cut % 2 :]), JPEG)

    assert not any(NAME[at : at + 8] in stored for at in range(len(NAME) - 8))


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("step", [7, 1000, 1 << 20])
def test_frames_with_nothing_beside_them_pass_as_they_came(name, step):
    dataset = dcmread(get_testdata_file(name))
    sent, frames = dataset.PixelData, Frames(str(dataset.file_meta.TransferSyntaxUID))

    passed = b"".join(frames.feed(sent[at : at + step]) for at in range(0, len(sent), step))

    assert passed + frames.end() == sent


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=30))
def test_it_makes_no_difference_in_which_pieces_it_comes_and_what_was_sent_is_kept(sizes):
    sent = value(jpeg(segment(0xFE, NAME), segment(0xE1, NAME * 9), tail=NAME, format="JPEG"))
    frames, stored, at = Frames(JPEG), b"", 0
    while at < len(sent):
        size = sizes[at % len(sizes)]
        stored += frames.feed(sent[at : at + size])
        at += size
        assert frames.as_sent(0, stored) + frames.held == sent[:at]

    assert stored + frames.end() == blanked(sent, JPEG)


@pytest.mark.parametrize(
    ("syntax", "bad"),
    [
        (JPEG, value(NAME)),
        (JPEG_2000, value(NAME)),
        (RLE, value(NAME * 9)),
        (JPEG, item(NAME) + value(b"")),
        (JPEG, value(b"\xff\xd8\xff\xe0\0\0")),
        (JPEG, value(jpeg(format="JPEG"))[:-20]),
    ],
)
def test_what_is_no_frame_is_refused_without_a_word_of_it(syntax, bad):
    with pytest.raises(NotFrames) as refusal:
        blanked(bad, syntax)

    assert "Quentin" not in str(refusal.value)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([JPEG, JPEG_2000, RLE, "1.2.840.10008.1.2.4.110"]))
def test_no_bytes_break_it(raw, syntax):
    for sent in (raw, value(raw), value(b"\xff\xd8\xff" + raw), value(b"\xff\x4f\xff\x51" + raw)):
        try:
            assert len(blanked(sent, syntax)) == len(sent)
        except NotFrames:
            continue


@pytest.mark.parametrize(
    ("layout", "samples", "sound"),
    [
        (Layout(16, 12, 11, signed=False), [0, 4095, 17], True),
        (Layout(16, 12, 11, signed=False), [0, 4096], False),
        (Layout(16, 12, 11, signed=True), [0x0FFF, 0x0001], True),
        (Layout(16, 12, 11, signed=True), [0xFFFF, 0x0001], True),
        (Layout(16, 12, 11, signed=True), [0xFFFF, 0x1001], False),
        (Layout(16, 12, 11, signed=True), [0x0FFF, 0xF801], False),
        (Layout(16, 12, 15, signed=False), [0xFFF0, 0x0010], True),
        (Layout(16, 12, 15, signed=False), [0xFFF1], False),
        (Layout(8, 7, 6, signed=False), [0x7F7F], True),
        (Layout(8, 7, 6, signed=False), [0x80], False),
        (Layout(32, 20, 19, signed=False), [0xFFFF, 0x000F], True),
        (Layout(32, 20, 19, signed=False), [0xFFFF, 0x001F], False),
    ],
)
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("step", [1, 3, 100])
def test_what_is_drawn_in_spare_bits_is_seen(layout, samples, sound, big, step):
    raw = b"".join(pack("<H", sample) for sample in samples)
    width = layout.allocated // 8
    if big:
        raw = b"".join(raw[at : at + width][::-1] for at in range(0, len(raw), width))
    look = SpareBits(layout, big_endian=big)

    for at in range(0, len(raw), step):
        look.feed(raw[at : at + step])

    assert look.sound is sound
