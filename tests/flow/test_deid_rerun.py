"""`deid rerun` as an operator types it: a stricter profile over the store, a looser one refused."""

import os
import re
import signal
import subprocess
import sys
from datetime import date

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from tests.fakes.running_gateway import ROOT, Gateway

pytestmark = pytest.mark.flow

DATES = "retain_longitudinal_full_dates = true"
LOOSE = f"""\
name = "loose"
narrative = "clean"
[options]
retain_uids = true
retain_device_identity = true
retain_patient_characteristics = true
{DATES}
clean_descriptors = true
clean_structured_content = true
clean_pixel_data = true
""" + "".join(
    f'[attributes.{keyword}]\naction = "{action}"\nreason = "as the shipped profiles do"\n'
    for keyword, action in (
        ("PatientID", "D"), ("PatientName", "D"), ("AccessionNumber", "D"),
        ("ReferencedImageSequence", "U"), ("SourceImageSequence", "U"),
    )
)  # fmt: skip


def image(number, name="CT_small.dcm", patient="QX4711"):
    dataset = dcmread(get_testdata_file(name))
    dataset.PatientID = f"{patient}-{number % 3}"
    dataset.StudyInstanceUID = f"1.2.840.60.{number % 3}"
    dataset.SeriesInstanceUID = f"1.2.840.61.{number}"
    dataset.SOPInstanceUID = f"1.2.840.62.{number}"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.InstanceNumber = number
    dataset.StudyDate, dataset.AcquisitionDate = "20190203", "20190205"
    dataset.StationName, dataset.PatientWeight = "CT-ROOM-9", "61"
    return dataset


@pytest.fixture
def gateway(tmp_path):
    made = Gateway(tmp_path)
    (tmp_path / "loose.toml").write_text(LOOSE, "utf-8")
    return made


def under(gateway, profile):
    text = gateway.settings.read_text()
    gateway.settings.write_text(re.sub(r'profile = "[^"]*"', f'profile = "{profile}"', text))


def fill(gateway, *datasets):
    """Take instances in and let a gateway index them."""
    with gateway.running():
        gateway.take(*datasets)


def stored(gateway):
    return [dcmread(path) for path in sorted((gateway.state / "store").glob("??/*/*/*.dcm"))]


def test_a_stricter_profile_reaches_every_file_and_the_index(gateway):
    under(gateway, "loose.toml")
    names = ("CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "rtplan.dcm", "reportsi.dcm")
    sent = [image(number, name) for number, name in enumerate(names)]
    fill(gateway, *sent)
    before = {file.SeriesInstanceUID: file for file in stored(gateway)}
    under(gateway, "research-strict")

    looked = gateway.json("deid", "rerun", "--dry-run")
    done = gateway.json("deid", "rerun", "--by", "li")

    assert [row["relation"] for row in looked["stored"]] == ["stricter now"]
    assert (done["renewed"], done["refused"], done["fetch"]) == (len(before), 0, [])
    after = stored(gateway)
    assert len(after) == len(before) == 5
    for file in after:
        assert file.DeidentificationMethod[1] == "profile research-strict"
        assert file.LongitudinalTemporalInformationModified == "MODIFIED"
        assert file.SOPInstanceUID.startswith("2.25.")
        assert file.file_meta.MediaStorageSOPInstanceUID == file.SOPInstanceUID
        assert "StationName" not in file or not file.StationName
        assert not file.get("PatientWeight")
        assert file.get("StudyDate") != "20190203"
        if file.get("AcquisitionDate"):
            apart = day(file.AcquisitionDate) - day(file.StudyDate)
            assert apart.days == 2
    pixels = {bytes(file.get("PixelData", b"")) for file in before.values()}
    assert {bytes(file.get("PixelData", b"")) for file in after} == pixels
    status = gateway.json("status")
    assert status["profiles"] == {done["digest"]: 5}
    assert (status["stored"]["instances"], status["arrivals"]) == (5, 0)
    assert gateway.json("reindex")["instances"] == 5
    events = {row["event"]: row["facts"] for row in gateway.json("audit", "ls")}
    assert events["rerun_ended"] == {"profile": done["digest"], "by": "li", "renewed": 5}
    assert gateway.json("deid", "rerun")["renewed"] == 0


def day(text):
    return date(int(text[:4]), int(text[4:6]), int(text[6:]))


def test_what_was_renewed_is_what_a_fresh_arrival_becomes(gateway):
    under(gateway, "research-longitudinal")
    sent = [image(number) for number in range(3)]
    fill(gateway, *sent)
    under(gateway, "research-strict")
    gateway("deid", "rerun")
    renewed = {file.SOPInstanceUID: file for file in stored(gateway)}

    with gateway.running():
        gateway.take(*sent)  # known by its digest and profile: stored once
        assert gateway.json("status")["stored"]["instances"] == 3
    fresh = {file.SOPInstanceUID: file for file in stored(gateway)}
    assert fresh == renewed
    superseded = [e for e in gateway.json("audit", "ls") if e["event"] == "instance_superseded"]
    assert superseded == []


def test_a_looser_profile_is_refused_with_the_fetch_that_brings_it(gateway):
    fill(gateway, image(1), image(2))
    under(gateway, "research-longitudinal")

    refused = gateway("deid", "rerun", expect=7).stderr

    assert "radfed gateway fetch --again --from pacs" in refused
    assert "--date 2019-01-01..2019-12-31 --modality CT" in refused
    assert "QX4711" not in refused
    assert "0203" not in refused
    assert {file.DeidentificationMethod[1] for file in stored(gateway)} == {
        "profile research-strict"
    }
    looked = gateway.json("deid", "rerun", "--dry-run", expect=8)
    assert looked["stored"][0]["relation"] == "looser"
    assert looked["stored"][0]["needs"]


def test_what_can_be_renewed_is_and_the_rest_is_named(gateway):
    under(gateway, "loose.toml")
    fill(gateway, image(1))
    under(gateway, "device-qa")
    fill(gateway, image(2))
    under(gateway, "research-strict")

    done = gateway.json("deid", "rerun", expect=8)

    assert done["renewed"] == 1
    assert {row["profile"]: row["relation"] for row in done["stored"]} == {
        "loose": "stricter now",
        "device-qa": "looser",
    }
    assert done["fetch"]


def test_a_store_under_a_profile_nobody_knows_is_fetched_again(gateway):
    under(gateway, "loose.toml")
    fill(gateway, image(1))
    for kept in (gateway.state / "profiles").iterdir():
        kept.unlink()
    under(gateway, "research-strict")

    assert "fetch --again" in gateway("deid", "rerun", expect=7).stderr


def test_a_running_gateway_brings_renewed_files_home(gateway):
    under(gateway, "research-longitudinal")
    with gateway.running():
        gateway.take(*[image(number) for number in range(4)])
        under(gateway, "research-strict")
        assert "start it anew" in gateway("deid", "rerun", expect=3).stderr

    with gateway.running():
        done = gateway.json("deid", "rerun")
        gateway.wait(lambda: gateway.json("status")["profiles"] == {done["digest"]: 4})
        gateway.wait(lambda: gateway.json("status")["arrivals"] == 0)

    assert done["renewed"] == 4


def test_a_killed_rerun_goes_on_and_loses_nothing(gateway):
    under(gateway, "loose.toml")  # its UIDs change too: the hardest case
    count = 60
    fill(gateway, *[image(number) for number in range(count)])
    under(gateway, "research-strict")

    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "deid", "rerun", "--config", gateway.settings],
        cwd=gateway.home,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    arrivals = gateway.state / "store" / "arrivals"
    gateway.wait(lambda: len(list(arrivals.glob("*.dcm"))) > 5 or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    held = {dcmread(path).InstanceNumber for path in (gateway.state / "store").rglob("*.dcm")}
    assert len(held) == count  # each is there under one of its names at least

    done = gateway.json("deid", "rerun")

    assert 0 < done["renewed"] < count
    files = stored(gateway)
    assert len(files) == count
    assert {file.DeidentificationMethod[1] for file in files} == {"profile research-strict"}
    status = gateway.json("status")
    assert status["profiles"] == {done["digest"]: count}
    assert status["stored"]["instances"] == count
    assert status["stored"]["series"] == count
    assert status["arrivals"] == 0
