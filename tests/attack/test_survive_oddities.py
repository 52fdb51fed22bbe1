"""Storms, hostile names, long pauses, a clock that goes back: against the real gateway."""

import re
import time

import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from gateway.config import Intake
from tests.chaos.images import CT, image, uid, write
from tests.chaos.running import Gateway
from tests.chaos.senders import StoreScu
from tests.fakes.custody_house import House, corrected, shipped
from tests.fakes.raw_scu import RawScu, a_request, a_store, an_echo, data, status_of

pytestmark = pytest.mark.attack
HOSTILE = ("../../../../escaped", "$(touch escaped)", "1.2\0.3", "9" * 300, "/etc/passwd", "..")
PLACE = re.compile(r"(arrivals|[0-9a-f]{2}/2\.25\.\d+/2\.25\.\d+)/2\.25\.\d+\.dcm|\.locks/\w+")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    running = Gateway(tmp_path_factory.mktemp("house"), first_pdu_seconds=0.5)
    running.start()
    yield running
    running.destroy()


def test_a_resend_storm_from_eight_associations_ends_in_one_copy_of_each(gateway, tmp_path):
    files = [write(tmp_path, CT, number) for number in range(1, 21)]

    scus = [StoreScu(gateway.port, files) for _ in range(8)]
    answers = [scu.wait() for scu in scus]
    gateway.wait_until_settled()

    assert all(len(told) == 20 and set(told.values()) == {"Success"} for told in answers)
    held = gateway.holdings()
    held.require_each_once()
    assert {uid(number) for number in range(1, 21)} <= held.uids


def test_no_name_or_uid_leads_out_of_the_store(gateway):
    outside = listed(gateway)

    for number, hostile in enumerate(HOSTILE, 100):
        dataset = Dataset(image(CT, number))
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "PatientID", "PatientName"):
            raw = hostile.encode() + b"\0" * (len(hostile) & 1)
            dataset[keyword] = DataElement(dataset[keyword].tag, "OB", raw)  # implicit: as it is
        buffer = DicomBytesIO()
        buffer.is_implicit_VR, buffer.is_little_endian = True, True
        write_dataset(buffer, dataset)
        with RawScu(gateway.port) as scu:
            scu.say(a_request())
            scu.hear()
            scu.say(data(1, 3, a_store(uid(number))), data(1, 2, buffer.getvalue()))
            assert status_of(scu.hear()) == 0
    gateway.wait_until_settled()

    assert listed(gateway) == outside
    store = gateway.data / "store"
    stored = [str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()]
    assert all(map(PLACE.fullmatch, stored)), stored
    assert {uid(number) for number in range(100, 100 + len(HOSTILE))} <= gateway.holdings().uids


def listed(gateway):
    base = gateway.directory
    return {p for p in [*base.rglob("*"), *base.parent.iterdir()] if gateway.data not in p.parents}


def test_a_pause_longer_than_the_first_deadline_keeps_the_association(gateway):
    with RawScu(gateway.port) as scu:
        scu.associate()
        time.sleep(2.5)
        scu.say(data(3, 3, an_echo()))

        assert status_of(scu.hear()) == 0

    assert Intake().idle_seconds > 600  # ten minutes


def test_a_clock_set_back_an_hour_stops_neither_line_nor_corrections(tmp_path):
    now, house, instance = [1_800_000_000.0], House(tmp_path), shipped("CT_small.dcm")
    index = house.index()
    line = house.line(index, clock=lambda: now[0])
    house.take(instance)
    line.run_once()

    now[0] -= 3600
    house.take(corrected(instance, PatientName="Another^Name"))
    house.take(shipped("image_dfl.dcm"))
    while line.run_once():
        pass

    assert index.counts()["instances"] == 1 == len(house.files())
    assert house.vault.counts() == {"incoming": 0, "quarantined": 1}
