"""Files come in by the same way as what a peer sends."""

import shutil
import zipfile
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from gateway.errors import ConfigurationFault
from gateway.intake.importer import import_directory
from tests.fakes.custody import FakeCustody, FakeVerdict

pytestmark = pytest.mark.flow
CT, MR = Path(get_testdata_file("CT_small.dcm")), Path(get_testdata_file("MR_small.dcm"))


@pytest.fixture
def a_disc(tmp_path):
    """Two images, one in a folder, and what else lies on discs."""
    disc = tmp_path / "disc"
    (disc / "images").mkdir(parents=True)
    shutil.copy(CT, disc / "images" / "IM0001")
    shutil.copy(MR, disc / "IM0002")
    shutil.copy(get_testdata_file("DICOMDIR"), disc / "DICOMDIR")
    (disc / "README.TXT").write_text("not an image")
    (disc / "cut.dcm").write_bytes(CT.read_bytes()[:200])
    (disc / "link").symlink_to(CT)
    return disc


def zipped(disc, path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in disc.rglob("*"):
            if file.is_file() and not file.is_symlink():
                archive.write(file, file.relative_to(disc))
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_every_image_of_a_disc_is_taken_and_the_rest_is_named(a_disc, tmp_path, packed):
    custody, seen = FakeCustody(), []
    before = sorted(a_disc.rglob("*"))

    report = import_directory(
        zipped(a_disc, tmp_path / "disc.zip") if packed else a_disc,
        custody,
        lambda done, total: seen.append((done, total)),
    )

    assert (report.stored, report.skipped, report.complete) == (2, 1, False)
    assert {failed.path: failed.reason for failed in report.not_taken} == {
        "README.TXT": "not a DICOM file (no Part 10 preamble)",
        "cut.dcm": "it ends inside its file meta information",
    }
    assert seen == [(number, 5) for number in range(1, 6)]
    assert sorted(a_disc.rglob("*")) == before
    assert {held.arrival.calling_ae for held in custody.held} == {"IMPORT"}
    ct = next(h for h in custody.held if h.arrival.sop_instance_uid == dcmread(CT).SOPInstanceUID)
    assert ct.dataset[:4] == b"\x08\0\x05\0"
    assert CT.read_bytes().endswith(ct.dataset)


def test_what_custody_says_is_counted(a_disc):
    kinds = iter(["duplicate", "quarantined"])

    report = import_directory(a_disc, FakeCustody(judge=lambda _: FakeVerdict(next(kinds))))

    assert (report.stored, report.duplicate, report.quarantined) == (0, 1, 1)


def test_a_rejected_file_is_named_with_custody_s_reason(a_disc):
    custody = FakeCustody(judge=lambda _: FakeVerdict("rejected", "another instance"))

    report = import_directory(a_disc, custody)

    assert [f.reason for f in report.not_taken].count("another instance") == 2
    assert not custody.held


def test_a_full_disk_stops_the_import_and_says_so(a_disc):
    report = import_directory(a_disc, FakeCustody(full=True))

    assert "reserve" in report.stopped
    assert not report.complete


def test_a_fault_while_reading_leaves_nothing_half_done(a_disc):
    def fail(_chunk):
        raise OSError(5, "Input/output error")

    custody = FakeCustody(on_write=fail)

    report = import_directory(a_disc, custody)

    assert {f.reason for f in report.not_taken} >= {"it could not be read or kept (OSError)"}
    assert custody.open_now == 0


def test_a_damaged_zip_names_what_it_could_not_read(a_disc, tmp_path):
    archive = zipped(a_disc, tmp_path / "disc.zip")
    content = bytearray(archive.read_bytes())
    at = content.index(b"IM0001") + 2000
    content[at : at + 64] = bytes(64)
    archive.write_bytes(content)

    report = import_directory(archive, FakeCustody())

    assert report.stored == 1
    assert "images/IM0001" in {failed.path for failed in report.not_taken}


def test_a_file_whose_group_length_lies_is_read_all_the_same(tmp_path):
    content = bytearray(CT.read_bytes())
    content[140:144] = (7).to_bytes(4, "little")
    (tmp_path / "lying.dcm").write_bytes(content)
    custody = FakeCustody()

    report = import_directory(tmp_path, custody)

    assert report.stored == 1
    assert custody.held[0].dataset[:4] == b"\x08\0\x05\0"


def test_what_does_not_exist_is_said_so(tmp_path):
    with pytest.raises(ConfigurationFault, match="missing"):
        import_directory(tmp_path / "missing", FakeCustody())


def test_one_file_is_taken_by_itself():
    custody = FakeCustody()

    report = import_directory(CT, custody)

    assert report.stored == len(custody.held) == 1


def test_one_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "file.txt").write_text("text")

    report = import_directory(tmp_path / "file.txt", FakeCustody())

    assert [file.path for file in report.not_taken] == ["file.txt"]
