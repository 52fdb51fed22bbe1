"""The user's own directory: what a PACS could send joins the demo once, the rest is counted."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from deploy.demo.archive import dicom_below, fill
from deploy.demo.phantoms import SITES

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def own(tmp_path):
    folder = tmp_path / "我的 files"
    folder.mkdir()
    return folder


def test_who_is_called_like_a_manufacturer_is_nobody(own, tmp_path):
    dataset = dcmread(get_testdata_file("CT_small.dcm"))
    dataset.InstitutionName = dataset.Manufacturer
    dataset.save_as(own / "ct.dcm")

    archive = fill(tmp_path / "home", 1, SITES[0], dicom_below(own).instances)

    assert archive.own == 1
    assert dataset.Manufacturer in archive.devices & set(archive.texts)
    assert str(dataset.PatientName) in set(archive.texts) - archive.devices


def leave_empty(_folder):
    pass


def put_broken(folder):
    raw = Path(get_testdata_file("MR_small.dcm")).read_bytes()
    (folder / "note.txt").write_text("no DICOM")
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "header.dcm").write_bytes(raw[:140])
    (folder / "noise.dcm").write_bytes(bytes(128) + b"DICM" + bytes(range(256)) * 20)
    (folder / "gone.dcm").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe")


def test_an_instance_joins_once_and_what_cannot_be_read_is_counted(own):
    put_broken(own)
    for name in ("ct.dcm", "the same.dcm"):
        shutil.copy(get_testdata_file("CT_small.dcm"), own / name)

    found = dicom_below(own)

    assert found.instances == (own / "ct.dcm",)
    assert found.left_out == 5


@pytest.mark.parametrize("content", [leave_empty, put_broken])
def test_a_directory_without_dicom_ends_the_demo_before_it_begins(own, content):
    content(own)

    done = subprocess.run(
        [sys.executable, "-c", "from deploy.demo.cli import demo; demo()", "--data", own],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 3
    assert "holds no DICOM file" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")

    done = subprocess.run(
        [sys.executable, "-c", "from deploy.demo.cli import demo; demo()",
         "--keep", tmp_path / "file" / "below"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 3
    assert "choose another --keep" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
