"""Storage commitment by a whole gateway: over kill -9, to Orthanc, in `radfed gateway status`."""

import random
import time
from pathlib import Path
from urllib.error import HTTPError

import pytest
from pydicom.uid import generate_uid

from tests.fakes.archives import a_study, encoded
from tests.fakes.commitment import Modality
from tests.fakes.granting_gateway import ORTHANC, GrantingGateway, Orthanc
from tests.fakes.receiver import eventually

pytestmark = pytest.mark.flow
needs_orthanc = pytest.mark.skipif(not Path(ORTHANC).exists(), reason="Orthanc is not installed")


@pytest.fixture
def gateway(tmp_path):
    return GrantingGateway(tmp_path)


def test_a_report_outlives_kill_9_and_reaches_a_peer_that_comes_back(gateway):
    modality, images = Modality(), a_study("20200102", "CT", instances=3)
    gateway.grant("ct", "CT1", modality.port)

    with (
        gateway.until_killed(),
        modality.association(gateway.port, datasets=images) as association,
    ):
        for image in images:
            assert association.send_c_store(image).Status == 0
        asked = [(image.SOPClassUID, image.SOPInstanceUID) for image in images]
        assert modality.ask(association, asked, "1.2.3.4") == 0
    heard_before = list(modality.heard)
    pending = gateway.commitments
    modality.listen()
    try:
        with gateway.running():
            eventually(lambda: modality.heard, 40)
            gateway.wait(lambda: gateway.commitments["delivered"] == 1)
    finally:
        modality.hang_up()

    assert (heard_before, pending) == ([], {"pending": 1, "delivered": 0})
    (heard,) = modality.heard
    assert heard.on_new_association
    assert (heard.event_type, heard.transaction, len(heard.committed)) == (1, "1.2.3.4", 3)
    events = [event for event in gateway.log.splitlines() if "commitment_" in event]
    assert all("1.2.3.4" not in event for event in events)


@needs_orthanc
def test_orthanc_learns_what_was_committed_and_what_was_not(gateway, tmp_path):
    orthanc = Orthanc(tmp_path / "orthanc")
    gateway.grant("orthanc", "ORTHANC", orthanc.dicom)
    sent, kept = a_study("20200102", "CT", instances=5), a_study("20200103", "MR")

    with gateway.running(), orthanc.running(gateway.port):
        ids = [orthanc.ask("/instances", encoded(instance))["ID"] for instance in sent]
        others = [orthanc.ask("/instances", encoded(instance))["ID"] for instance in kept]
        store = {"Resources": ids, "StorageCommitment": True}
        done = orthanc.ask("/modalities/radfed/store", store)["StorageCommitmentTransactionUID"]
        eventually(lambda: orthanc.report(done)["Status"] != "Pending", 20)
        asked = orthanc.ask("/modalities/radfed/storage-commitment", {"Resources": ids + others})
        eventually(lambda: orthanc.report(asked["ID"])["Status"] != "Pending", 20)
        whole, partly = orthanc.report(done), orthanc.report(asked["ID"])
        gateway.wait(lambda: gateway.commitments == {"pending": 0, "delivered": 2})

    assert (whole["Status"], len(whole["Success"]), whole["Failures"]) == ("Success", 5, [])
    assert (partly["Status"], len(partly["Success"])) == ("Failure", 5)
    assert [failure["FailureReason"] for failure in partly["Failures"]] == [0x0112, 0x0112]


@needs_orthanc
def test_orthanc_is_refused_where_nobody_opted_it_in(gateway, tmp_path):
    orthanc = Orthanc(tmp_path / "orthanc")
    gateway.grant("orthanc", "ORTHANC", orthanc.dicom)
    gateway.settings.write_text(gateway.settings.read_text().replace("commitment = true", ""))

    with gateway.running(), orthanc.running(gateway.port):
        (instance,) = a_study("20200102", "CT", instances=1)
        uploaded = orthanc.ask("/instances", encoded(instance))["ID"]
        with pytest.raises(HTTPError):
            orthanc.ask("/modalities/radfed/storage-commitment", {"Resources": [uploaded]})

    assert not (gateway.state / "commitment").exists()


@needs_orthanc
def test_a_disk_at_its_reserve_is_said_to_orthanc_in_a_way_it_understands(gateway, tmp_path):
    orthanc = Orthanc(tmp_path / "orthanc")
    gateway.grant("orthanc", "ORTHANC", orthanc.dicom)
    gateway.set("reserve_bytes", 1 << 60)

    with gateway.running(), orthanc.running(gateway.port):
        (instance,) = a_study("20200102", "CT", instances=1)
        uploaded = orthanc.ask("/instances", encoded(instance))["ID"]
        alive = orthanc.ask("/modalities/radfed/echo", b"{}")
        with pytest.raises(HTTPError):
            orthanc.ask("/modalities/radfed/store", {"Resources": [uploaded]})

    assert alive == {}


def test_kill_9_at_any_moment_loses_no_report(gateway):
    modality, dice = Modality(), random.Random(80)
    modality.listen()
    gateway.grant("ct", "CT1", modality.port)
    asked = []
    try:
        for _ in range(3):
            images = a_study("20200102", "CT", instances=3)
            with (
                gateway.until_killed(),
                modality.association(gateway.port, datasets=images) as association,
            ):
                for number, image in enumerate(images):
                    assert association.send_c_store(image).Status == 0
                    transaction = generate_uid()
                    named = [(i.SOPClassUID, i.SOPInstanceUID) for i in images[: number + 1]]
                    status = modality.ask(association, named, transaction)
                    asked.append(transaction)
                    if status is None:  # a report came meanwhile: its reactor took our answer
                        break
                    assert status == 0
                time.sleep(dice.uniform(0, 1.5))
        kept = {"pending": 0, "delivered": len(asked)}
        with gateway.running():
            gateway.wait(lambda: gateway.commitments == kept, 90)
    finally:
        modality.hang_up()

    assert {heard.transaction for heard in modality.heard} == set(asked)
    assert {heard.event_type for heard in modality.heard} == {1}
