"""The door as dcmtk's senders find it: real processes, Nagle's algorithm on."""

import subprocess
import time
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from gateway.intake.association import BUFFER_BYTES
from tests.fakes.custody import FakeCustody, FakeVerdict
from tests.fakes.receiver import a_receiver, eventually

pytestmark = pytest.mark.flow
CT = Path(get_testdata_file("CT_small.dcm"))
COMPRESSED = [
    ("MR_small_jp2klossless.dcm", "-xv"),
    ("MR_small_jpeg_ls_lossless.dcm", "-xt"),
    ("JPEG-lossy.dcm", "-xx"),
    ("SC_rgb_rle.dcm", "-xr"),
    ("SC_rgb_jpeg_gdcm.dcm", "-xs"),
]


def run(program, port, *arguments, called="RADFED"):
    """Run a sender; options first, files last, as dcmtk wants them."""
    options = [str(a) for a in arguments if not isinstance(a, Path)]
    files = [str(a) for a in arguments if isinstance(a, Path)]
    command = [program, "-v", "-aec", called, *options, "127.0.0.1", str(port), *files]
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


def test_echoscu_is_answered():
    with a_receiver(FakeCustody()) as door:
        answer = run("echoscu", door.port)

    assert answer.returncode == 0
    assert "Received Echo Response (Success)" in answer.stdout


@pytest.mark.parametrize("program", ["storescu", "dcmsend"])
def test_a_ct_arrives_as_it_was_sent(program):
    custody = FakeCustody()

    with a_receiver(custody) as door:
        answer = run(program, door.port, CT)

    assert answer.returncode == 0
    (held,) = custody.held
    assert held.arrival.sop_instance_uid == dcmread(CT).SOPInstanceUID
    assert held.arrival.calling_ae == program.upper()
    assert dcmread(CT).pixel_array.tobytes() in held.dataset
    assert (custody.aborted, custody.open_now) == (0, 0)


@pytest.mark.parametrize(("name", "proposed"), COMPRESSED)
def test_compressed_pixels_arrive_untouched(name, proposed):
    custody, path = FakeCustody(), Path(get_testdata_file(name))

    with a_receiver(custody) as door:
        answer = run("storescu", door.port, "-R", proposed, path)

    assert answer.returncode == 0, answer.stdout
    (held,) = custody.held
    sent = dcmread(path)
    assert held.arrival.transfer_syntax_uid == sent.file_meta.TransferSyntaxUID
    assert sent.PixelData in held.dataset


def test_the_default_sender_does_not_wait_for_us(tmp_path):
    """Without re-armed acknowledgements dcmtk waits 40 ms per image: 80 images would take 3.2 s."""
    custody, image = FakeCustody(keep=False), dcmread(CT)
    image.PixelData = bytes(512 * 1024)
    image.Rows = image.Columns = 512
    for number in range(80):
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.save_as(tmp_path / f"{number}.dcm")

    took = []
    with a_receiver(custody) as door:
        while not took or (
            min(took) >= 2.4 and len(took) < 4
        ):  # a busy machine is slow, not always
            started = time.monotonic()
            answer = run("dcmsend", door.port, "--scan-directories", tmp_path)
            took.append(time.monotonic() - started)
            assert answer.returncode == 0

    assert len(custody.held) == 80 * len(took)
    assert min(took) < 2.4


def test_a_large_multiframe_streams_through_in_pieces(tmp_path):
    sent = dcmread(CT)
    sent.NumberOfFrames, sent.Rows, sent.Columns = 20, 1024, 1024
    sent.PixelData = b"".join(bytes([n]) * (2 << 20) for n in range(20))
    sent.save_as(tmp_path / "large.dcm")
    longest = 0

    def look(chunk):
        nonlocal longest
        longest = max(longest, len(chunk))

    custody = FakeCustody(on_write=look)
    with a_receiver(custody) as door:
        answer = run("storescu", door.port, tmp_path / "large.dcm")

    assert answer.returncode == 0
    (held,) = custody.held
    assert sent.PixelData in held.dataset
    assert longest <= BUFFER_BYTES


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        (FakeVerdict("duplicate"), "Success"),
        (FakeVerdict("quarantined", "unknown structure"), "Success"),
        (FakeVerdict("rejected", "another instance"), "Error: DataSetDoesNotMatchSOPClass"),
    ],
)
def test_the_sender_reads_what_custody_said(verdict, status):
    with a_receiver(FakeCustody(judge=lambda _: verdict)) as door:
        answer = run("storescu", door.port, CT)

    assert f"Received Store Response ({status})" in answer.stdout


def test_a_full_disk_is_out_of_resources_and_recovers_without_restart():
    custody = FakeCustody(full=True)

    with a_receiver(custody) as door:
        refused = run("storescu", door.port, CT)
        custody.full = False
        taken = run("storescu", door.port, CT)

    assert "OutOfResources" in refused.stdout
    assert "Success" in taken.stdout
    assert len(custody.held) == 1


@pytest.mark.parametrize(
    ("fault", "status"),
    [(OSError(28, "No space left on device"), "OutOfResources"), (KeyError("x"), "0x110")],
)
def test_a_fault_while_writing_becomes_a_status_and_leaves_nothing(fault, status):
    def fail(_chunk):
        raise fault

    custody = FakeCustody(on_write=fail)

    with a_receiver(custody) as door:
        answer = run("storescu", door.port, CT)

    assert status in answer.stdout
    assert not custody.held
    assert custody.open_now == 0


def test_a_stranger_is_told_why_it_is_refused():
    with a_receiver(FakeCustody()) as door:
        wrong_name = run("echoscu", door.port, called="ELSEWHERE")
        stranger = run("echoscu", door.port, "-aet", "STRANGER")

    assert "Called AE Title Not Recognized" in wrong_name.stdout
    assert "Calling AE Title Not Recognized" in stranger.stdout


def test_an_abort_by_the_sender_leaves_nothing():
    custody = FakeCustody()

    with a_receiver(custody) as door:
        answer = run("echoscu", door.port, "--abort")
        eventually(lambda: door.seen("association_aborted"))

    assert answer.returncode == 0
    assert door.seen("association_aborted")[0]["by_peer"]
