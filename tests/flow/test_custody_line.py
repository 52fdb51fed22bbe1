"""The instance line: arrivals to the index and their folders, the vault to the store."""

import shutil
import threading
import time
import zlib
from datetime import UTC, datetime

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from gateway.errors import EnvironmentFault
from gateway.line.custody import VerdictKind
from gateway.model import Lane
from gateway.store.labels import import_labels
from gateway.store.reindex import reindex
from tests.fakes.custody_house import House, corrected, dataset_of, shipped, written

pytestmark = pytest.mark.flow
ROWS = "SELECT * FROM {} ORDER BY 1"
TABLES = ("patient", "study", "instance")


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def settle(house, **options):
    index = house.index()
    line = house.line(index, **options)
    while line.run_once():
        pass
    line.close()
    return index


def rows(index, tables=TABLES):
    return {table: [tuple(row) for row in index.read(ROWS.format(table))] for table in tables}


def a_series(count, **elements):
    ct = shipped("CT_small.dcm")
    for number in range(count):
        place = {
            "SOPInstanceUID": f"1.2.3.{number + 1}",
            "InstanceNumber": str(number + 1),
            "ImagePositionPatient": [0, 0, number * 2.5],
        }
        yield corrected(ct, **(place | elements))


def test_arrivals_are_indexed_then_filed(house):
    for instance in a_series(5):
        house.take(instance)

    index = settle(house)

    counts = index.counts()
    assert (counts["patients"], counts["studies"], counts["series"]) == (1, 1, 1)
    assert counts["instances"] == 5
    assert counts["bytes"] == sum(path.stat().st_size for path in house.files())
    assert house.store.arrived(-1) == []
    for row in index.read("SELECT * FROM instance"):
        kept = dcmread(house.store.path(row["path"]))
        assert (kept.SOPInstanceUID, kept.Rows) == (row["sop_uid"], row["rows"])
        assert row["path"].endswith(
            f"/{kept.StudyInstanceUID}/{kept.SeriesInstanceUID}/{kept.SOPInstanceUID}.dcm"
        )


def test_the_index_holds_the_true_year_and_the_files_do_not(house):
    house.take(shipped("CT_small.dcm"))  # of 2004

    index = settle(house)

    assert index.read("SELECT study_year FROM study")[0][0] == 2004
    assert "2004" not in str(dcmread(house.files()[0]).get("StudyDate", ""))


def test_a_quiet_series_is_graded_and_a_growing_one_is_not(house):
    now = [1000.0]
    index = house.index()
    line = house.line(index, quiet_seconds=10.0, clock=lambda: now[0])
    series = list(a_series(6, BodyPartExamined="CHEST"))
    for instance in series[:3]:
        house.take(instance)

    line.run_once()
    assert index.counts()["grades"] == {"-": 1}
    now[0] += 11
    line.run_once()
    assert index.counts()["grades"] == {"A": 1}
    house.take(series[5])  # leaves a gap
    line.run_once()
    assert index.counts()["grades"] == {"-": 1}
    now[0] += 11
    line.run_once()
    assert index.counts()["grades"] == {"C": 1}
    assert "gaps" in index.read("SELECT findings FROM series")[0][0]


def test_a_rebuilt_index_equals_the_one_that_grew(house, tmp_path):
    names = ["CT_small.dcm", "MR_small.dcm", "reportsi.dcm", "J2K_pixelrep_mismatch.dcm"]
    for name in names:
        house.take(shipped(name))
    house.take(corrected(shipped("CT_small.dcm"), InstanceNumber="5"))
    grown = settle(house)

    fresh = type(grown).open(tmp_path / "fresh.db")
    outcome = reindex(house.store, fresh, at=0.0)

    assert (outcome.instances, outcome.forgotten, outcome.damaged) == (4, 0, ())
    assert rows(fresh) == rows(grown)
    line = house.line(fresh)
    while line.run_once():
        pass
    graded = "SELECT series_uid, modality, grade, findings FROM series ORDER BY 1"
    assert [tuple(r) for r in fresh.read(graded)] == [tuple(r) for r in grown.read(graded)]


def test_reindexing_forgets_what_is_gone_and_keeps_labels(house, tmp_path):
    house.take(shipped("CT_small.dcm"))
    house.take(shipped("MR_small.dcm"))
    index = settle(house)
    table = tmp_path / "labels.csv"
    study = dataset_of(shipped("CT_small.dcm")).StudyInstanceUID
    table.write_text(f"StudyInstanceUID,label,value\n{study},lesion,POSITIVE\n")
    imported = import_labels(index, table, house.engine)
    gone = next(p for p in house.files() if dcmread(p).Modality == "MR")
    gone.unlink()

    outcome = reindex(house.store, index, at=0.0)

    assert (imported.taken, imported.without_images) == (1, 0)
    assert (outcome.instances, outcome.forgotten) == (1, 1)
    assert index.counts()["series"] == 1
    joined = "SELECT label.value FROM label JOIN study USING (study_uid)"
    assert [row[0] for row in index.read(joined)] == ["POSITIVE"]
    assert study not in str(rows(index, ("label",)))


def test_labels_may_come_before_their_images_and_change(house, tmp_path):
    index = house.index()
    table = tmp_path / "labels.csv"
    series = dataset_of(shipped("CT_small.dcm")).SeriesInstanceUID
    for value in ("NEGATIVE", "POSITIVE"):
        table.write_text(f"SeriesInstanceUID,label,value,reader\n{series},lesion,{value},r1\n")
        assert import_labels(index, table, house.engine).without_images == 1

    house.take(shipped("CT_small.dcm"))
    settle(house)

    joined = "SELECT label.value FROM label JOIN series USING (series_uid)"
    assert [row[0] for row in index.read(joined)] == ["POSITIVE"]


@pytest.mark.parametrize("step", ["add", "file_away", "remove"])
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_fault_between_any_two_steps_ends_in_the_same_state(house, monkeypatch, step, side):
    for instance in a_series(3):
        house.take(instance)
    index = settle(house)
    for instance in a_series(3, StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.10"):
        house.take(instance)  # corrected into another study
    line = house.line(index)
    owner = house.store if step in {"file_away", "remove"} else index
    real = getattr(owner, step)

    def failing(*arguments, **options):
        if side == "after":
            real(*arguments, **options)
        raise OSError("the power failed")

    monkeypatch.setattr(owner, step, failing)
    with pytest.raises(OSError, match="the power failed"):
        line.run_once()
    monkeypatch.setattr(owner, step, real)
    while line.run_once():
        pass

    counts = index.counts()
    assert (counts["instances"], counts["series"], counts["studies"]) == (3, 1, 1)
    assert len(house.files()) == 3
    assert all(house.store.path(r[0]).exists() for r in index.read("SELECT path FROM instance"))


@pytest.mark.parametrize("step", ["erase", "quarantine"])
@pytest.mark.parametrize("name", ["image_dfl.dcm", "SC_rgb_rle.dcm", "SC_rgb_jpeg.dcm"])
def test_a_fault_while_leaving_the_vault_loses_nothing(house, monkeypatch, step, name):
    house.take(shipped(name))
    line = house.line(house.index())
    real = getattr(house.vault, step)
    failed = []

    def failing(*arguments):
        if not failed:
            failed.append(1)
            raise OSError("the power failed")
        real(*arguments)

    monkeypatch.setattr(house.vault, step, failing)
    for _ in range(4):
        try:
            line.run_once()
        except OSError:
            continue

    assert len(house.files()) + house.vault.counts()["quarantined"] == 1
    assert house.vault.counts()["incoming"] == 0


def test_a_deflated_dataset_is_stored_in_the_clear_syntax(house):
    deflated = shipped("image_dfl.dcm")
    house.take(deflated)

    settle(house)
    (entry,) = house.vault.list()  # a secondary capture: somebody must look
    house.vault.release(entry.id)
    settle(house)

    (path,) = house.files()
    kept = dcmread(path)
    assert kept.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert kept.pixel_array.shape == (512, 512)
    assert house.store.record_of(path).lane is Lane.VAULT
    assert house.vault.counts() == {"incoming": 0, "quarantined": 0}


@pytest.mark.parametrize("name", ["ExplVR_BigEnd.dcm", "SC_rgb_rle.dcm", "JPEG2000.dcm"])
def test_a_released_instance_is_stored_with_its_pixels_as_sent(house, name):
    instance = shipped(name)
    house.take(instance)
    settle(house)
    (entry,) = house.vault.list()
    assert (entry.place, bool(entry.advice)) == ("(7FE0,0010)", True)

    house.vault.release(entry.id)
    settle(house)

    (path,) = house.files()
    assert dcmread(path).PixelData == dataset_of(instance).PixelData
    assert house.vault.list() == []


def test_a_cleared_instance_sent_again_needs_no_second_look(house):
    instance = shipped("SC_rgb_rle.dcm")
    house.take(instance)
    settle(house)
    house.vault.release(house.vault.list()[0].id)
    settle(house)

    house.take(instance)
    settle(house)

    assert house.vault.counts() == {"incoming": 0, "quarantined": 0}
    assert len(house.files()) == 1


def test_a_passing_name_left_by_a_crash_is_swept(house):
    house.take(shipped("CT_small.dcm"))
    (path,) = house.files()
    left = path.with_name(f".{path.name}.1.2")
    left.hardlink_to(path)

    line = house.line(house.index(), clock=lambda: time.time() + 7200)
    while line.run_once():
        pass

    assert not left.exists()
    assert len(house.files()) == 1


def test_what_cannot_be_read_at_all_is_quarantined_with_a_reason(house):
    ct = shipped("CT_small.dcm")
    noise = type(ct)(ct.arrival, bytes(range(256)) * 20)
    house.take(noise)

    settle(house)

    (entry,) = house.vault.list()
    assert entry.reason
    assert entry.advice


def test_a_contradiction_found_late_is_quarantined(house):
    ct = shipped("CT_small.dcm")
    dataset = dataset_of(ct)
    squeezed = written(dataset, ct, sop_instance_uid=generate_uid())
    squeezer = zlib.compressobj(wbits=-15)
    raw = squeezer.compress(squeezed.raw) + squeezer.flush()
    arrival = type(ct.arrival)(
        ct.arrival.sop_class_uid,
        squeezed.arrival.sop_instance_uid,
        "1.2.840.10008.1.2.1.99",
        "PACS",
        "RADFED",
    )
    assert house.take(type(ct)(arrival, raw)).kind == VerdictKind.STORED

    settle(house)

    (entry,) = house.vault.list()
    assert "command" in entry.reason


def test_a_dropped_entry_is_gone_and_its_key_first(house):
    house.take(shipped("MR_truncated.dcm"))
    (entry,) = house.vault.list()

    house.vault.drop(entry.id)

    assert house.vault.list() == []
    assert [p for p in (house.base / "vault").rglob("*") if p.is_file()] == []


def test_a_tampered_entry_hides_no_other_and_is_not_stored(house):
    house.take(shipped("MR_truncated.dcm"))
    house.take(shipped("image_dfl.dcm"))
    (waiting,) = (house.base / "vault" / "incoming").glob("*.sealed")
    raw = bytearray(waiting.read_bytes())
    raw[-5] ^= 1
    waiting.write_bytes(raw)

    settle(house)

    assert house.files() == []
    assert sorted(entry.reason for entry in house.vault.list()) == [
        "it does not open: changed or cut",
        "it ends before its last element does",
    ]


def test_an_entry_under_another_entrys_name_does_not_open(house):
    house.take(shipped("MR_truncated.dcm"))
    house.take(shipped("rtplan_truncated.dcm"))
    one, other = sorted((house.base / "vault" / "quarantine").glob("*.sealed"))
    shutil.copy(one, other)

    assert sum(e.reason.startswith("it does not open") for e in house.vault.list()) == 1


def test_a_damaged_arrival_is_reported_once_and_stops_nobody(house):
    house.take(shipped("CT_small.dcm"))
    (path,) = house.files()
    raw = bytearray(path.read_bytes())
    raw[600] ^= 1
    path.write_bytes(raw)
    house.take(shipped("MR_small.dcm"))

    index = settle(house)
    settle(house)

    assert index.counts()["instances"] == 1
    assert path.exists()
    reports = [facts for event, facts in house.trail.events if event == "stored_file_damaged"]
    assert len(reports) == 2  # once for each start of the line


def test_a_second_line_is_refused(house):
    first, second = house.line(house.index()), house.line(house.index())
    first.run_once()

    with pytest.raises(EnvironmentFault, match="another gateway"):
        second.run_once()
    first.close()
    second.run_once()


def test_the_line_runs_until_it_is_stopped(house):
    stop = threading.Event()
    index = house.index()
    line = house.line(index)
    worker = threading.Thread(target=line.run, args=(stop,))
    worker.start()
    house.take(shipped("CT_small.dcm"))
    deadline = time.monotonic() + 30
    while not index.counts()["grades"].get("B") and time.monotonic() < deadline:
        time.sleep(0.02)

    stop.set()
    worker.join(30)

    assert not worker.is_alive()
    assert index.counts()["instances"] == 1


def test_times_in_the_quarantine_are_utc(house):
    house.take(shipped("MR_truncated.dcm"))

    (entry,) = house.vault.list()

    received = datetime.fromisoformat(entry.received)
    assert abs((datetime.now(UTC) - received).total_seconds()) < 60


def test_a_correction_acknowledged_while_its_conflict_is_set_aside_is_kept(house, monkeypatch):
    ct = shipped("CT_small.dcm")
    house.take(ct)
    settle(house)
    dataset = dataset_of(ct)
    dataset.StudyInstanceUID, dataset.PixelData = "1.2.3.9", bytes(len(dataset.PixelData))
    conflict = written(dataset, ct)
    house.take(conflict)
    correction = corrected(conflict, SeriesNumber="77")
    publish = house.vault.publish

    def publish_then_correct(*given, **named):
        entry = publish(*given, **named)
        monkeypatch.setattr(house.vault, "publish", publish)
        assert house.take(correction).kind is VerdictKind.STORED
        return entry

    monkeypatch.setattr(house.vault, "publish", publish_then_correct)
    settle(house)

    kept = []
    for entry in house.vault.entries():
        with house.vault.open(entry) as (label, _):
            kept.append(label.received)
    assert house.received(correction.raw) in kept
