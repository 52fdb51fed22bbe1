"""What is left when the power fails, the process dies, the disk fills or a sync fails."""

import errno
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from itertools import count
from struct import pack

import pytest
from pydicom import dcmread

from gateway.errors import ReserveReached
from gateway.line.custody import VerdictKind
from tests.fakes.custody_house import House, shipped

ITEM_OF_A_MEGABYTE = pack("<HHI", 0xFFFE, 0xE000, 1 << 20) + bytes(1 << 20)
pytestmark = pytest.mark.flow

ONE = """
import sys
from pathlib import Path
from tests.fakes.custody_house import House, shipped
house = House(Path(sys.argv[1]))
incoming = house.custody.begin(shipped(sys.argv[2]).arrival)
incoming.write(shipped(sys.argv[2]).raw)
verdict = incoming.commit()
print("VERDICT", verdict.kind, flush=True)
"""
MANY = """
import sys
from pathlib import Path
from pydicom.uid import generate_uid
from tests.fakes.custody_house import House, shipped, corrected
house = House(Path(sys.argv[1]))
names = ["CT_small.dcm", "MR_small_RLE.dcm", "examples_rgb_color.dcm", "MR_truncated.dcm"]
while True:
    for name in names:
        instance = shipped(name)
        if name == "CT_small.dcm":
            instance = corrected(instance, SOPInstanceUID=generate_uid())
        verdict = house.take(instance, 4096)
        print(instance.arrival.sop_instance_uid, verdict.kind, flush=True)
"""
LINE = """
import sys
from pathlib import Path
from tests.fakes.custody_house import House
house = House(Path(sys.argv[1]))
line = house.line(house.index())
print("ready", flush=True)
while True:
    line.run_once()
"""


def python(code, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True,
        **options,
    )  # fmt: skip


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(
    ("name", "place", "suffix"),
    [
        ("CT_small.dcm", "store/arrivals", ".dcm"),
        ("image_dfl.dcm", "vault/incoming", ".sealed"),
        ("MR_truncated.dcm", "vault/quarantine", ".sealed"),
    ],
)
def test_file_name_and_directory_are_durable_in_this_order_before_the_verdict(
    tmp_path, name, place, suffix
):
    log = tmp_path / "strace.log"
    calls = "trace=fdatasync,fsync,linkat,link,renameat,renameat2,rename,openat,open,write"
    command = ["strace", "-f", "-y", "-e", calls, "-o", log, sys.executable, "-c", ONE]

    subprocess.run([*command, tmp_path / "data", name], check=True, capture_output=True)

    lines = log.read_text().splitlines()
    end = at(lines, r"write\(1.*VERDICT")
    link = at(lines, rf'linkat\(.*{suffix}"')
    file_sync = [i for i in every(lines, r"fdatasync\(") if i < link]
    folder = re.escape(str(tmp_path / "data" / place))
    folder_sync = [i for i in every(lines, rf"fsync\(\d+<{folder}>\)\s+= 0") if link < i < end]
    assert file_sync
    assert folder_sync
    assert every(lines, rf"fsync\(\d+<{re.escape(str(tmp_path / 'data'))}>\)"), "new parents too"
    written_after = [
        line
        for line in lines[file_sync[-1] : end]
        if re.search(r"write\(\d+<.*data/(store|vault)", line)
    ]
    assert written_after == []


def every(lines, pattern):
    return [number for number, line in enumerate(lines) if re.search(pattern, line)]


def at(lines, pattern):
    found = every(lines, pattern)
    assert found, pattern
    return found[0]


def test_what_was_acknowledged_survives_kills_at_any_moment(tmp_path):
    dice = random.Random(7)
    acknowledged = set()
    for kills in count(1):
        sender, line = python(MANY, tmp_path), python(LINE, tmp_path)
        line.stdout.readline()
        first = sender.stdout.readline()
        time.sleep(dice.uniform(0.0, 0.25))
        for process in dice.sample([sender, line], 2):
            process.send_signal(signal.SIGKILL)
            time.sleep(dice.uniform(0, 0.01))
        rest = sender.stdout.read()
        line.wait()
        sender.wait()
        for answer in (first + rest).splitlines(keepends=True):
            if answer.endswith("\n"):
                acknowledged.add(answer.split()[0])
        if kills >= 15 and (len(acknowledged) > 30 or kills == 60):  # slow where others work, too
            break

    house = House(tmp_path)
    index = house.index()
    line = house.line(index)
    while line.run_once():
        pass
    stored = {house.store.record_of(path).original.sop_uid for path in house.files()}
    for entry in house.vault.list():
        with house.vault.open(entry.id) as (kept, chunks):
            assert sum(map(len, chunks)) == kept.size_bytes
            stored.add(kept.arrival.sop_instance_uid)
    assert len(acknowledged) > 30
    assert acknowledged <= stored
    assert index.counts()["instances"] == len(house.files())
    for path in house.files():
        assert dcmread(path).PixelData
    leftovers = [p for p in tmp_path.rglob("*") if p.is_file() and p.name.startswith(".")]
    assert leftovers == []


def test_below_the_reserve_nothing_is_begun(tmp_path):
    house = House(tmp_path, reserve_bytes=1 << 60)

    with pytest.raises(ReserveReached):
        house.custody.begin(shipped("CT_small.dcm").arrival)

    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_large_instance_is_refused_before_it_touches_the_reserve(tmp_path, monkeypatch):
    house = House(tmp_path, reserve_bytes=1 << 20)
    monkeypatch.setattr("gateway.line.terms.free_bytes", lambda _: (1 << 20) + 1000)

    with pytest.raises(ReserveReached):
        house.take(shipped("CT_small.dcm"))

    assert house.files() == []


@pytest.mark.parametrize("name", ["image_dfl.dcm", "JPEG2000.dcm", "SC_rgb_rle.dcm"])
def test_an_instance_without_end_stops_at_the_reserve(tmp_path, monkeypatch, name):
    house, left = House(tmp_path, reserve_bytes=1 << 30), [2 << 30]
    monkeypatch.setattr("gateway.line.terms.free_bytes", lambda _: left[0])
    incoming = house.custody.begin(shipped(name).arrival)
    incoming.write(shipped(name).raw[:-8])

    written = 0

    def go_on():
        nonlocal written
        while written < 100 << 20:
            incoming.write(ITEM_OF_A_MEGABYTE)
            written += len(ITEM_OF_A_MEGABYTE)
            left[0] = (1 << 30) + (8 << 20) - written

    with pytest.raises(ReserveReached):
        go_on()

    assert written < 40 << 20
    assert house.files() == []
    assert house.vault.counts() == {"incoming": 0, "quarantined": 0}


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 1 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or not mounted(place):
        pytest.skip("only root can mount a small disk")
    yield place
    subprocess.run(["umount", place], check=True)


def mounted(place):
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", ["CT_small.dcm", "examples_rgb_color.dcm", "MR_truncated.dcm"])
def test_a_disk_that_fills_midway_is_refused_cleanly_and_recovers(small_disk, name):
    house = House(small_disk)
    instance = shipped(name)
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk)
    ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - 6000))

    with pytest.raises(ReserveReached):
        house.take(instance, 3000)

    assert house.files() == []
    assert house.vault.counts() == {"incoming": 0, "quarantined": 0}
    assert os.statvfs(small_disk).f_bavail * 4096 >= 4096
    ballast.unlink()
    assert house.take(instance).kind in {VerdictKind.STORED, VerdictKind.QUARANTINED}


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
@pytest.mark.parametrize("name", ["CT_small.dcm", "image_dfl.dcm"])
def test_a_failed_sync_is_never_called_success(tmp_path, monkeypatch, call, name):
    house = House(tmp_path)
    real = getattr(os, call)

    def failing(_):
        raise OSError(errno.EIO, "the disk failed")

    monkeypatch.setattr(os, call, failing)
    with pytest.raises(OSError, match="the disk failed"):
        house.take(shipped(name))
    monkeypatch.setattr(os, call, real)

    assert house.files() == []
    assert house.vault.incoming() == []
    assert house.take(shipped(name)).kind == VerdictKind.STORED  # written anew, synced anew


def test_identified_bytes_never_reach_the_disk_in_the_clear(tmp_path):
    """Not even in files that vanish: every write call is looked at."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    for name in ("CT_small.dcm", "image_dfl.dcm", "MR_truncated.dcm", "SC_rgb_rle.dcm"):
        instance = shipped(name)
        log = tmp_path / f"{name}.log"
        traced = ["strace", "-f", "-s", "4000000", "-e", "trace=write,writev,pwrite64", "-o", log]

        subprocess.run(
            [*traced, sys.executable, "-c", ONE, tmp_path / "data", name],
            check=True, capture_output=True,
        )  # fmt: skip

        assert instance.arrival.sop_instance_uid not in log.read_text("latin-1")
        assert "write" in log.read_text("latin-1")
