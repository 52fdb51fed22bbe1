"""Pictures and headers for the pages, by their own process, from real files and broken ones."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from io import BytesIO

import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from gateway.app.picture_room import PictureRoom
from gateway.config import GatewayConfig

pytestmark = pytest.mark.flow
# In the wheel of pydicom: native, RLE, JPEG 2000, colour, many frames, no pixels.
SHOWN = {
    "CT_small.dcm": (128, 128),
    "MR_small_RLE.dcm": (64, 64),
    "JPEG2000.dcm": (256, 1024),
    "examples_rgb_color.dcm": (320, 240),
    "examples_ybr_color.dcm": (320, 240),
    "rtdose.dcm": (10, 10),
}


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    config = GatewayConfig(site="tongji", data=tmp_path_factory.mktemp("data"))
    made = PictureRoom(config)
    yield made
    made.close()


def path(name):
    from pathlib import Path

    return Path(get_testdata_file(name, download=False) or pytest.skip(f"no {name} here"))


@pytest.mark.parametrize("name", SHOWN)
def test_a_stored_image_becomes_a_png(room, name):
    picture = room.picture(path(name), 0, small=False)

    image = Image.open(BytesIO(picture))
    assert image.format == "PNG"
    assert image.size == SHOWN[name]
    low, high = image.convert("L").getextrema()
    assert high > low


def test_a_thumbnail_is_small(room):
    image = Image.open(BytesIO(room.picture(path("JPEG2000.dcm"), 0, small=True)))

    assert max(image.size) == 160


def test_frames_differ(room):
    frames = [room.picture(path("rtdose.dcm"), frame, small=False) for frame in (0, 7)]

    assert frames[0] != frames[1]


def test_what_cannot_be_shown_is_none_and_costs_no_more(room, tmp_path):
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(path("CT_small.dcm").read_bytes()[:9000])

    for file in (broken, tmp_path / "absent.dcm", path("reportsi.dcm")):
        assert room.picture(file, 0, small=True) is None
    assert room.header(tmp_path / "absent.dcm") == []
    assert room.picture(path("CT_small.dcm"), 0, small=True)


def test_a_process_that_was_killed_is_started_again(room):
    assert room.picture(path("CT_small.dcm"), 0, small=True)
    os.kill(room._process.pid, signal.SIGKILL)
    room._process.wait()

    assert room.picture(path("CT_small.dcm"), 0, small=True)


def test_an_answer_without_end_is_not_read(room, monkeypatch):
    endless = "import sys; sys.stdin.readline(); sys.stdout.buffer.write(b'\\xff' * (1 << 20))"
    room.close()
    with monkeypatch.context() as platform:
        platform.setattr(subprocess, "Popen", partial(_another, [sys.executable, "-c", endless]))
        began = time.monotonic()
        assert room.picture(path("CT_small.dcm"), 0, small=True) is None

    assert time.monotonic() - began < 10
    assert room.picture(path("CT_small.dcm"), 0, small=True)


def _another(command, _named, start=subprocess.Popen, **wishes):
    return start(command, **wishes)


def test_a_header_is_explained_element_by_element(room):
    rows = {row["keyword"]: row for row in room.header(path("CT_small.dcm"))}

    assert rows["PatientName"]["action"] in {"Z", "X", "D"}
    assert "PS3.15" in rows["StudyDate"]["rule"]
    assert rows["Rows"]["value"] == "128"
    assert rows["Rows"]["action"] == "K"
