"""Pseudonyms and dates under a new key: the store follows, whole, whatever cuts the run short."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from datetime import date

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from gateway.app.build import build_deidentifier, build_secret
from gateway.app.outbound import build_cohorts
from gateway.config import load
from gateway.deid import uids
from gateway.deid.face_region import Found, Region
from gateway.desk.book import Book
from gateway.desk.rounds import home_of
from gateway.desk.rules import JobStage
from gateway.keys import Purpose, rotation_under_way
from gateway.sandbox.rules import split_of
from gateway.store.faces import FaceRegions
from gateway.store.index import Index
from gateway.store.tally import Tally
from protos.v1 import job_pb2
from tests.fakes import standards
from tests.fakes.rejecting import key_objects
from tests.fakes.running_gateway import ROOT, Gateway

pytestmark = pytest.mark.flow

REASON = "incidental finding, the ward calls back"


def image(number, name="CT_small.dcm", patient="QX4711", studies=3):
    dataset = dcmread(get_testdata_file(name))
    dataset.PatientID = f"{patient}-{number % studies}"
    dataset.AccessionNumber = f"ACC{number % studies}"
    dataset.StudyInstanceUID = f"1.2.840.60.{number % studies}"
    dataset.SeriesInstanceUID = f"1.2.840.61.{number}"
    dataset.SOPInstanceUID = f"1.2.840.62.{number}"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.InstanceNumber = number
    dataset.StudyDate, dataset.AcquisitionDate = "20190203", "20190205"
    return dataset


@pytest.fixture
def gateway(tmp_path):
    return Gateway(tmp_path)


def stored(gateway):
    return [dcmread(path) for path in sorted((gateway.state / "store").glob("??/*/*/*.dcm"))]


def pseudonyms(gateway):
    config = load(gateway.settings)
    return build_deidentifier(config, build_secret(config))


def day(text):
    return date(int(text[:4]), int(text[4:6]), int(text[6:]))


def test_every_instance_follows_and_is_what_would_arrive_now(gateway):
    names = ("CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "rtplan.dcm", "reportsi.dcm")
    sent = [image(number, name) for number, name in enumerate(names)]
    with gateway.running():
        gateway.take(*sent)
        assert "stop it first" in gateway("keys", "rotate", "pseudonym", expect=3).stderr
    before = stored(gateway)

    done = gateway.json("keys", "rotate", "pseudonym", "--by", "li")

    assert done == {
        "key": "pseudonym", "version": 2, "under_way": False, "renewed": 5, "set_aside": 0,
        "damaged": 0,
    }  # fmt: skip
    after = stored(gateway)
    assert len(after) == len(before) == 5
    engine = pseudonyms(gateway)
    for keyword, known in (
        ("PatientID", {engine.pseudonym(one.PatientID, "") for one in sent}),
        ("StudyInstanceUID", {engine.pseudo_uid(one.StudyInstanceUID) for one in sent}),
        ("SOPInstanceUID", {engine.pseudo_uid(one.SOPInstanceUID) for one in sent}),
    ):
        assert {one[keyword].value for one in after} == known
        assert not known & {one[keyword].value for one in before}
    assert not {one.AccessionNumber for one in after} & {one.AccessionNumber for one in before}
    assert sorted(one.StudyDate for one in after) == sorted(one.StudyDate for one in before)
    pixels = {bytes(file.get("PixelData", b"")) for file in before}
    assert {bytes(file.get("PixelData", b"")) for file in after} == pixels
    everything = b"".join(p.read_bytes() for p in (gateway.state / "store").rglob("*.dcm"))
    assert not [one for one in before if one.SOPInstanceUID.encode() in everything]
    status = gateway.json("status")
    assert status["rotation"] is None
    assert (status["stored"]["instances"], status["stored"]["patients"]) == (5, 3)
    assert gateway.json("reindex")["instances"] == 5
    assert gateway.json("status")["stored"]["patients"] == 3
    with gateway.running():
        gateway.take(*sent)  # the same again is still a duplicate
        assert gateway.json("status")["stored"]["instances"] == 5
    assert stored(gateway) == after
    events = {row["event"]: row["facts"] for row in gateway.json("audit", "ls")}
    assert events["key_rotated"] == {"key": "pseudonym", "by": "li", "renewed": 5, "version": 2}
    assert "instance_superseded" not in events


def test_what_is_known_of_a_face_follows_its_series(gateway):
    with gateway.running():
        gateway.take(image(1), image(2))
    before = {one.SeriesInstanceUID: one.FrameOfReferenceUID for one in stored(gateway)}
    regions = FaceRegions(gateway.state / "store")
    for series, frame in before.items():
        regions.keep(series, Region(Found.NO_FACE, frame, np.zeros(3), np.ones(3)))

    gateway.json("keys", "rotate", "pseudonym", "--by", "li")

    after = {one.SeriesInstanceUID: one.FrameOfReferenceUID for one in stored(gateway)}
    assert set(regions.series()) == set(after)
    assert not set(after) & set(before)
    assert {series: regions.of(series).frame for series in after} == after


def test_dates_alone_move_and_intervals_stay(gateway):
    sent = [image(number) for number in range(4)]
    with gateway.running():
        gateway.take(*sent)
    before = {file.SOPInstanceUID: file for file in stored(gateway)}

    gateway("keys", "rotate", "shift")

    after = {file.SOPInstanceUID: file for file in stored(gateway)}
    assert after.keys() == before.keys()
    moved = {
        (file.PatientID, (day(before[uid].StudyDate) - day(file.StudyDate)).days)
        for uid, file in after.items()
    }
    assert len(moved) == 3  # one shift for each patient
    assert {one.PatientID for one in after.values()} == {name for name, _ in moved}
    assert {days for _, days in moved} != {0}
    for file in after.values():
        assert (day(file.AcquisitionDate) - day(file.StudyDate)).days == 2
    with gateway.running():
        gateway.take(*sent)
    assert {file.SOPInstanceUID: file for file in stored(gateway)} == after
    assert gateway.json("status")["stored"]["instances"] == 4


def sides(gateway, patients):
    """Return on which side of the split a running gateway would put each real patient."""
    config, engine = load(gateway.settings), pseudonyms(gateway)
    with closing(Index.open(config.index_file)) as index:
        tally = Tally(index)
        cohorts = build_cohorts(config, index, tally, None)
        return {patient: cohorts.split(engine.pseudonym(patient, "")) for patient in patients}


def test_a_patient_stays_on_one_side_of_the_split_however_often_names_are_rotated(gateway):
    known = [f"QX4711-{number}" for number in range(24)]
    with gateway.running():
        gateway.take(*[image(number, studies=24) for number in range(24)])
        gateway("patient", "merge", "QX4711-0", "TYPO-1", "--reason", "typo")
    before = sides(gateway, [*known, "TYPO-1"])
    assert before["TYPO-1"] is split_of_first(gateway, "TYPO-1")  # nobody is filed under it
    assert len(set(before.values())) > 1

    gateway.json("keys", "rotate", "pseudonym", "--only-turn")
    with gateway.running():  # new files of somebody known and of somebody new, before it is through
        fresh = image(25, patient="NEW", studies=1)
        fresh.StudyInstanceUID = "1.2.840.60.25"
        gateway.take(image(24, studies=24), fresh)
        gateway.json("keys", "rotate", "pseudonym")
        gateway.wait(lambda: gateway.json("status")["arrivals"] == 0)

    assert sides(gateway, [*known, "TYPO-1"]) == before
    new = split_of_first(gateway, "NEW-0")
    assert sides(gateway, ["NEW-0", "NOBODY"]) == {"NEW-0": new, "NOBODY": None}
    gateway.json("keys", "rotate", "pseudonym")
    assert sides(gateway, [*known, "TYPO-1", "NEW-0"]) == {**before, "NEW-0": new}


def split_of_first(gateway, patient):
    """Return the side that a gateway which never rotated draws."""
    secret = build_secret(load(gateway.settings))
    first = uids.pseudonym(patient, "", secret.subkey(Purpose.PSEUDONYM))
    return split_of(first, secret.subkey(Purpose.SPLIT))


def test_decisions_labels_and_rejections_follow(gateway, tmp_path):
    sent = [image(number) for number in range(6)]
    rejecting = key_objects([sent[5]])
    rejecting.file_meta = FileMetaDataset()
    rejecting.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    (tmp_path / "labels.csv").write_text(
        "SeriesInstanceUID,label,value\n1.2.840.61.0,nodule,POSITIVE\n1.2.840.61.9,nodule,NEGATIVE\n"
    )
    with gateway.running():
        gateway.take(*sent, rejecting)
        gateway("labels", "import", tmp_path / "labels.csv")
        gateway("patient", "merge", "QX4711-0", "QX4711-1", "--reason", "typo")
        gateway("patient", "optout", "QX4711-2")
    before = gateway.json("status")["stored"]
    assert (before["patients"], before["withdrawn"], before["hidden"]) == (2, 1, 2)

    gateway("keys", "rotate", "pseudonym")

    assert without_grades(gateway.json("status")["stored"]) == without_grades(before)
    engine = pseudonyms(gateway)
    states = {row["patient"]: row for row in gateway.json("patient", "ls")}
    names = [engine.pseudonym(f"QX4711-{number}", "") for number in range(3)]
    assert states.keys() == set(names)
    assert states[names[0]]["counts_as"] == names[1]
    assert states[names[2]]["state"] == "withdrawn"
    index = Index.open(gateway.state / "index.db")
    assert Tally(index).labels("nodule") == {
        engine.pseudo_uid("1.2.840.61.0"): "POSITIVE",
        engine.pseudo_uid("1.2.840.61.9"): "NEGATIVE",
    }
    index.close()
    gateway("reindex")
    assert without_grades(gateway.json("status")["stored"]) == without_grades(before)
    with gateway.running():  # whoever withdrew stays so, for what comes too
        gateway.take(image(11))
        assert gateway.json("status")["stored"]["withdrawn"] == 1
    gateway("patient", "optout", "QX4711-2", "--undo")
    assert gateway.json("status")["stored"]["withdrawn"] == 0


def test_labels_of_patients_and_of_stored_objects_follow(gateway, tmp_path):
    sent = list(standards.images(dcmread(get_testdata_file("CT_small.dcm"))))
    drawn = standards.segmentation(sent, drawn=True)
    (tmp_path / "labels.csv").write_text(
        "PatientID,label,value,reader,adjudicated\n"
        f"{sent[0].PatientID},lesion,1,board,yes\nSOMEBODY-ELSE,lesion,0,r1,\n"
    )
    with gateway.running():
        gateway.take(*sent, drawn)
        gateway("labels", "import", tmp_path / "labels.csv")
    before = labels_in(gateway)
    assert [row["reader"].split()[0] for row in before] == ["SEG", "board", "r1"]
    assert {row["version"] for row in before} == {1}

    gateway("keys", "rotate", "pseudonym")

    engine, after = pseudonyms(gateway), labels_in(gateway)
    assert {row["version"] for row in after} == {2}
    told = [(row["name"], row["value"], row["adjudicated"]) for row in after]
    assert told == [(row["name"], row["value"], row["adjudicated"]) for row in before]
    of_object, of_patient, of_other = after
    assert of_object["source"] == engine.pseudo_uid(drawn.SOPInstanceUID)
    assert of_object["series_uid"] == engine.pseudo_uid(sent[0].SeriesInstanceUID)
    assert of_patient["patient"] == engine.pseudonym(sent[0].PatientID, "")
    assert of_other["patient"] == engine.pseudonym("SOMEBODY-ELSE", "")
    assert gateway.json("labels", "show", "lesion")["without_images"] == 1
    gateway("reindex")
    assert labels_in(gateway) == after


def labels_in(gateway):
    with closing(Index.open(gateway.state / "index.db")) as index:
        rows = index.read("SELECT * FROM label ORDER BY source = '', reader")
        return [{name: row[name] for name in row.keys() if name != "id"} for row in rows]  # noqa: SIM118 - sqlite3.Row


def without_grades(counts):
    return {name: count for name, count in counts.items() if name not in ("grades", "bytes")}


def test_old_and_new_pseudonyms_lead_back(gateway):
    with gateway.running():
        gateway.take(image(0))
    for name in ("li", "wang"):
        gateway(
            "custodian", "add", name, "--recovery-code-file", gateway.home / "code",
            "--pass-key-file", gateway.home / f"{name}.key",
        )  # fmt: skip
    (first,) = stored(gateway)
    gateway("keys", "rotate", "pseudonym")
    (second,) = stored(gateway)
    gateway("keys", "rotate", "pseudonym")
    (third,) = stored(gateway)
    assert len({one.PatientID for one in (first, second, third)}) == 3
    keys = [w for n in ("li", "wang") for w in ("--pass-key", gateway.home / f"{n}.key")]

    for file in (first, second, third):
        for asked in (file.PatientID, file.StudyInstanceUID, file.SOPInstanceUID):
            told = gateway.json("reidentify", asked, "--reason", REASON, *keys)
            assert told["patients"] == [{"patient_id": "QX4711-0", "issuer": ""}]


def test_arrivals_of_meanwhile_come_under_the_new_version(gateway):
    with gateway.running():
        gateway.take(*[image(number) for number in range(6)])
    turned = gateway.json("keys", "rotate", "pseudonym", "--only-turn")
    assert turned["under_way"]
    assert "is being rotated" in gateway("keys", "rotate", "shift", expect=4).stderr
    assert "let `keys rotate` end" in gateway("deid", "rerun", expect=3).stderr
    under_way = {row["key"]: row["under_way"] for row in gateway.json("keys", "ls")}
    assert [purpose for purpose, turning in under_way.items() if turning] == ["pseudonym"]

    with gateway.running():
        assert gateway.json("status")["rotation"]["version"] == 2
        corrected = image(1)
        corrected.StudyDescription = "corrected"
        gateway.take(image(0), corrected, image(6))  # a duplicate, a correction, a new one
        done = gateway.json("keys", "rotate", "pseudonym")
        gateway.wait(lambda: gateway.json("status")["arrivals"] == 0)
        assert gateway.json("status")["stored"]["instances"] == 7

    assert done["renewed"] == 6
    engine = pseudonyms(gateway)
    files = {file.SOPInstanceUID: file for file in stored(gateway)}
    assert files.keys() == {engine.pseudo_uid(f"1.2.840.62.{number}") for number in range(7)}
    assert files[engine.pseudo_uid("1.2.840.62.1")].StudyDescription == "corrected"


def test_two_instances_of_one_uid_are_not_both_kept(gateway):
    with gateway.running():
        gateway.take(image(0))
    gateway("keys", "rotate", "pseudonym", "--only-turn")
    other = image(0)
    other.PixelData = bytes(len(other.PixelData))
    with gateway.running():
        gateway.take(other)

    done = gateway.json("keys", "rotate", "pseudonym", expect=8)

    assert (done["set_aside"], done["under_way"]) == (1, False)
    assert gateway.json("status")["stored"]["instances"] == 1
    assert "rotated key" in gateway.json("quarantine", "ls")[0]["reason"]


def test_keys_older_than_the_store_are_refused(gateway):
    with gateway.running():
        gateway.take(image(0))
    gateway("keys", "rotate", "pseudonym")
    versions = gateway.state / "keys" / "versions.json"
    newest = versions.read_text()
    versions.write_text("{}")  # an old backup of the keys

    for command in (("import", gateway.home), ("keys", "rotate", "pseudonym")):
        assert "older than the store" in gateway(*command, expect=9).stderr

    versions.write_text(newest)
    gateway("keys", "rotate", "pseudonym")
    assert len(stored(gateway)) == 1


def test_a_store_nobody_can_tell_the_profile_of_is_left_alone(gateway):
    gateway.settings.write_text(
        gateway.settings.read_text().replace("research-strict", "site.toml")
    )
    (gateway.home / "site.toml").write_text('name = "site"\n[options]\nclean_descriptors = true\n')
    with gateway.running():
        gateway.take(image(0))
    for kept in (gateway.state / "profiles").iterdir():
        kept.unlink()
    gateway.settings.write_text(
        gateway.settings.read_text().replace("site.toml", "research-strict")
    )

    assert "restore" in gateway("keys", "rotate", "pseudonym", expect=4).stderr
    assert rotation_under_way(gateway.state / "keys") is None
    assert {row["version"] for row in gateway.json("keys", "ls")} == {1}


def test_jobs_frozen_before_end_with_the_reason(gateway):
    book = Book.open(gateway.state / "desk" / "desk.db")
    offer = job_pb2.JobOffer(job_id="frozen").SerializeToString()
    for job in ("frozen", "waiting"):
        assert book.take_job(job, offer, "vendor")
        book.decide(job, JobStage.APPROVED, by="li")
    book.close()
    (home_of(gateway.state / "desk" / "jobs", "frozen") / "workspace").mkdir(parents=True)

    gateway("keys", "rotate", "pseudonym")

    jobs = {row["job_id"]: row for row in gateway.json("approvals", "ls")}
    assert (jobs["frozen"]["stage"], jobs["waiting"]["stage"]) == ("rejected", "approved")
    assert "frozen before a key was rotated" in jobs["frozen"]["reason"]


def test_a_run_killed_at_any_moment_goes_on_and_loses_nothing(gateway):
    count = 40
    with gateway.running():
        gateway.take(*[image(number) for number in range(count)])
    kills = 0
    for pause in (0.0, 0.05, 0.15, 0.3):
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "keys", "rotate", "pseudonym",
             "--config", gateway.settings],
            cwd=gateway.home,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        keys = gateway.state / "keys"
        gateway.wait(lambda: rotation_under_way(keys) or process.poll() is not None)  # noqa: B023
        time.sleep(pause)
        killed = process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        kills += killed
        held = {dcmread(path).InstanceNumber for path in (gateway.state / "store").rglob("*.dcm")}
        assert len(held) == count  # each is there under one of its names at least
        if rotation_under_way(keys) is None:
            break
    assert kills

    if rotation_under_way(gateway.state / "keys") is not None:
        gateway("keys", "rotate", "pseudonym")

    engine = pseudonyms(gateway)
    assert {file.SOPInstanceUID for file in stored(gateway)} == {
        engine.pseudo_uid(f"1.2.840.62.{number}") for number in range(count)
    }
    status = gateway.json("status")
    counts = [status["stored"][name] for name in ("instances", "series", "studies", "patients")]
    assert counts == [count, count, 3, 3]
    assert (status["arrivals"], status["rotation"]) == (0, None)
    assert json.loads((gateway.state / "keys" / "versions.json").read_text())["pseudonym"] == 2
