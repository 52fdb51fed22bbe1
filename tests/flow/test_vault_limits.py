"""What the second look refuses to read: bombs, giants, and what killed it before."""

import signal
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from gateway.model import RealUID
from tests.fakes.custody_house import House, Instance, shipped

pytestmark = pytest.mark.flow
ROOT = Path(__file__).parents[2]
KILLED = """
import os, signal, sys
from pathlib import Path
from tests.fakes.custody_house import House
house = House(Path(sys.argv[1]))
house.engine.apply = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
house.line(house.index()).run_once()
"""


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def settle(house, **options):
    line = house.line(house.index(), **options)
    while line.run_once():
        pass
    line.close()


def a_bomb(megabytes):
    squeezer = zlib.compressobj(9, wbits=-15)
    zeros = bytes(1 << 20)
    parts = [squeezer.compress(zeros) for _ in range(megabytes)]
    return Instance(
        replace(
            shipped("image_dfl.dcm").arrival,
            sop_instance_uid=RealUID("1.2.3"),
            transfer_syntax_uid=str(DeflatedExplicitVRLittleEndian),
        ),
        b"".join(parts) + squeezer.flush(),
    )


def killed_at_it(house):
    done = subprocess.run([sys.executable, "-c", KILLED, str(house.base)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL


def test_a_deflate_bomb_is_quarantined_with_advice(house):
    house.take(a_bomb(100))

    settle(house)

    (entry,) = house.vault.list()
    assert entry.reason.startswith("it inflates to more than 256 MiB")
    assert "not deflated" in entry.advice
    assert house.files() == []


def test_a_dataset_longer_than_the_limit_is_not_read_whole(house):
    instance = shipped("JPEG2000.dcm")
    house.take(instance)

    settle(house, whole_bytes_at_most=len(instance.raw) - 1)

    (entry,) = house.vault.list()
    assert "whole_bytes_at_most" in entry.reason
    assert "[vault]" in entry.advice


def test_a_dataset_as_long_as_the_limit_is_read(house):
    instance = shipped("ExplVR_BigEnd.dcm")
    house.take(instance)

    settle(house, whole_bytes_at_most=len(instance.raw))

    assert not any("whole_bytes" in entry.reason for entry in house.vault.list())


def test_an_entry_that_killed_the_line_is_not_tried_again(house):
    house.take(shipped("image_dfl.dcm"))

    killed_at_it(house)
    settle(house)

    (entry,) = house.vault.list()
    assert entry.reason.startswith("the gateway ended while it read this")
    assert "release it" in entry.advice
    assert house.vault.counts() == {"incoming": 0, "quarantined": 1}


@pytest.mark.parametrize("indexed", [False, True])
def test_what_is_stored_already_is_not_kept_twice_when_its_resend_is_cut_short(house, indexed):
    instance = shipped("image_dfl.dcm")
    house.take(instance)
    settle(house)
    house.vault.release(house.vault.list()[0].id)
    line = house.line(house.index())
    line.run_once()
    line.close()
    if not indexed:
        (filed,) = house.files()
        filed.rename(house.store.arrivals.path / filed.name)
        house.index().forget([filed.stem])

    house.take(instance)
    killed_at_it(house)
    settle(house)

    assert house.vault.counts() == {"incoming": 0, "quarantined": 0}
    assert len(house.files()) == 1


def test_what_killed_the_line_is_tried_once_more_when_it_is_released(house):
    house.take(shipped("image_dfl.dcm"))
    killed_at_it(house)
    settle(house)

    house.vault.release(house.vault.list()[0].id)
    settle(house)

    assert len(house.files()) == 1
    assert [path for path in (house.base / "vault").rglob("*") if path.is_file()] == []


def test_a_fault_of_the_disk_is_no_death(house, monkeypatch):
    house.take(shipped("image_dfl.dcm"))
    monkeypatch.setattr(house.store, "holds", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    line = house.line(house.index())
    with pytest.raises(OSError, match="full"):
        line.run_once()
    line.close()
    monkeypatch.undo()

    settle(house)

    (entry,) = house.vault.list()
    assert entry.place == "(7FE0,0010)"  # a secondary capture: it was read
