"""RLE frames: text behind the picture is blanked, text in its spare bits is seen; pictures stay."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from gateway.deid.codestream import Drawn, Frames, NotFrames, blanked
from gateway.deid.spare import Layout

RLE = str(RLELossless)
NAME = b"Featherstone^Quentin"
TWELVE = Layout(16, 12, 11, signed=False)
SIGNED = Layout(16, 12, 11, signed=True)


def compressed(values):
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    made.NumberOfFrames = len(values)
    made.Rows, made.Columns = values.shape[1:]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = values.dtype.itemsize * 8
    made.HighBit, made.PixelRepresentation = made.BitsStored - 1, int(values.dtype.kind == "i")
    made.PixelData = values.tobytes()
    made["PixelData"].VR = "OW"
    made.compress(RLELossless, generate_instance_uid=False)
    return made


def a_picture(low, high, kind=np.uint16):
    values = np.random.default_rng(3).integers(low, high, (2, 40, 60)).astype(kind)
    values[:, :20] = high // 2  # runs as well as literals
    return values


@pytest.mark.parametrize("step", [1, 7, 250, 100_000])
@pytest.mark.parametrize(
    ("values", "layout"),
    [
        (a_picture(0, 4096), TWELVE),
        (a_picture(-2000, 2000, np.int16), SIGNED),
        (a_picture(0, 256, np.uint8), None),
    ],
)
def test_a_picture_passes_as_it_came(values, layout, step):
    sent, frames = compressed(values).PixelData, Frames(RLE, 2400, layout)

    passed = b"".join(frames.feed(sent[at : at + step]) for at in range(0, len(sent), step))

    assert passed + frames.end() == sent
    assert frames.undo == []


@pytest.mark.parametrize("layout", [TWELVE, SIGNED])
@pytest.mark.parametrize("at", [(0, 0, 0), (1, 39, 59), (1, 12, 7)])
def test_what_is_drawn_in_spare_bits_is_seen(layout, at):
    values = a_picture(0, 2000)
    values[at] |= 0x5000

    with pytest.raises(Drawn):
        blanked(compressed(values).PixelData, RLE, 2400, layout)
    assert blanked(compressed(values).PixelData, RLE, 2400)  # nothing to spare


@pytest.mark.parametrize("step", [1, 100_000])
def test_what_stands_behind_a_segments_samples_is_blanked(step):
    values = a_picture(0, 4096)[:1]
    made = compressed(values)
    (frame,) = generate_frames(made.PixelData, number_of_frames=1)
    sent = encapsulate([frame + NAME], has_bot=False)
    frames = Frames(RLE, 2400, TWELVE)

    stored = b"".join(frames.feed(sent[at : at + step]) for at in range(0, len(sent), step))
    stored += frames.end()

    assert NAME not in stored
    assert frames.as_sent(0, stored) == sent
    made.PixelData = stored
    made["PixelData"].is_undefined_length = True
    assert (made.pixel_array == values[0]).all()


@pytest.mark.parametrize("packets", [b"\x05abc", b"\x81a" * 40, b"\x7f" + b"a" * 128 + b"\x0f12"])
def test_packets_that_are_none_are_refused(packets):
    head = b"\1\0\0\0\x40\0\0\0" + bytes(56)
    body = head + packets + bytes(len(packets) % 2)
    value = b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0" + len(body).to_bytes(4, "little") + body

    with pytest.raises(NotFrames):
        blanked(value + b"\xfe\xff\xdd\xe0\0\0\0\0", RLE, 200)


def test_every_rle_file_of_the_wheel_passes_as_it_came():
    seen = 0
    for path in sorted((Path(pydicom.__file__).parent / "data").rglob("*.dcm")):
        try:
            dataset = dcmread(path)
            is_rle = dataset.file_meta.TransferSyntaxUID == RLELossless
            value = dataset.PixelData if is_rle else None
        except Exception:  # noqa: BLE001 - damaged on purpose
            continue
        if value is not None:
            samples = dataset.Rows * dataset.Columns
            assert blanked(value, RLE, samples) == value, path.name
            seen += 1
    assert seen > 3
