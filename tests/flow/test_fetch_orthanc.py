"""Back-fill from a real Orthanc: what is asked for comes once, and no trace of a patient stays."""

import multiprocessing
import os
import signal
import threading
from datetime import date

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from gateway.config import GatewayConfig
from gateway.errors import ConfigurationFault, PeerUnreachable
from gateway.intake.fetch import fetch
from gateway.intake.fetch_rules import FetchQuery, Method, Pace
from gateway.intake.fetch_terms import Phase
from tests.fakes.archives import a_study, free_port, orthanc, running
from tests.fakes.custody import FakeCustody
from tests.fakes.fetching import held, settings, uids
from tests.fakes.receiver import a_receiver, eventually

pytestmark = pytest.mark.flow
SPRING = FetchQuery(date(2019, 3, 1), date(2019, 3, 4))


def test_the_asked_days_and_modality_are_moved_to_us_once(tmp_path):
    both, ct = a_study("20190301", "CT", "MR"), a_study("20190304", "CT", patient="P2")
    other = a_study("20190302", "MR") + a_study("20190228", "CT") + a_study("20190305", "CT")
    ours = FakeCustody()

    with (
        a_receiver(ours) as door,
        running(orthanc(tmp_path / "pacs", door.port)) as pacs,
    ):
        pacs.add([*both, *ct, *other])
        config = settings(tmp_path, pacs)
        query = FetchQuery(SPRING.first, SPRING.last, frozenset({"CT"}))
        first = fetch(config, "pacs", query, FakeCustody())
        again = fetch(config, "pacs", query, FakeCustody())
        rest = fetch(config, "pacs", SPRING, FakeCustody())
        once = held(ours)
        anew = fetch(config, "pacs", SPRING, FakeCustody(), again="d" * 64)
        twice = fetch(config, "pacs", SPRING, FakeCustody(), again="d" * 64)

    assert (first.studies, first.fetched, first.instances, first.series_moved) == (2, 2, 4, 2)
    assert first.complete
    assert (again.already_here, again.fetched, again.instances) == (2, 0, 0)
    assert (rest.fetched, rest.already_here, rest.instances) == (3, 0, 4)
    everything = both + ct + other[:2]
    assert once == uids(everything)
    # Under another profile all of it counts as not here, once.
    assert (anew.fetched, anew.instances, twice.fetched, twice.already_here) == (3, 8, 0, 3)
    assert held(ours) == uids(everything * 2)


def test_a_pacs_that_cannot_move_to_us_is_asked_to_give(tmp_path):
    study = a_study("20190302", "CT", "MR")
    ours = FakeCustody()

    with running(orthanc(tmp_path / "pacs", None)) as pacs:
        pacs.add(study)
        report = fetch(settings(tmp_path, pacs), "ORTHANC", SPRING, ours)

    assert (report.fetched, report.series_moved, report.series_got) == (1, 0, 2)
    assert held(ours) == uids(study)
    assert {item.arrival.calling_ae for item in ours.held} == {"ORTHANC"}
    assert all(instance.PixelData in {h.dataset[-512:] for h in ours.held} for instance in study)


@pytest.mark.parametrize("name", ["MR_small_jp2klossless.dcm", "SC_rgb_rle.dcm"])
def test_compressed_pixels_are_given_as_they_are_stored(tmp_path, name):
    instance = dcmread(get_testdata_file(name))
    instance.StudyDate = "20190302"
    ours = FakeCustody()

    with running(orthanc(tmp_path / "pacs", None)) as pacs:
        pacs.add([instance])
        report = fetch(settings(tmp_path, pacs), "pacs", SPRING, ours, method=Method.GET)

    assert report.complete
    (item,) = ours.held
    assert item.arrival.transfer_syntax_uid == instance.file_meta.TransferSyntaxUID
    assert instance.PixelData.rstrip(b"\0")[-1000:] in item.dataset


def test_nothing_in_the_log_tells_of_a_patient(tmp_path):
    study = a_study("20190302", "CT")

    with running(orthanc(tmp_path / "pacs", None)) as pacs:
        pacs.add(study)
        config = settings(tmp_path, pacs)
        fetch(config, "pacs", SPRING, FakeCustody())

    written = b"".join(path.read_bytes() for path in config.data.glob("fetch.db*"))
    assert len(written) > 4096
    planted = ("P1", "PLANTED1", "Planted", "20190302", study[0].StudyInstanceUID)
    assert not [word for word in planted if word.encode() in written]
    assert (config.data / "fetch.db").stat().st_mode & 0o077 == 0


def fetch_until_killed(config: GatewayConfig, after: int) -> None:
    def kill_myself(progress) -> None:
        if progress.phase is Phase.FETCHING and progress.fetched == after:
            os.kill(os.getpid(), signal.SIGKILL)

    fetch(config, "pacs", SPRING, FakeCustody(), kill_myself)


def test_a_killed_back_fill_goes_on_where_it_was(tmp_path):
    studies = [a_study(f"2019030{day}", "CT", "MR") for day in (1, 2, 3, 4)]
    ours = FakeCustody()

    with (
        a_receiver(ours) as door,
        running(orthanc(tmp_path / "pacs", door.port)) as pacs,
    ):
        pacs.add([instance for study in studies for instance in study])
        config = settings(tmp_path, pacs)
        killed = multiprocessing.get_context("spawn").Process(
            target=fetch_until_killed, args=(config, 2)
        )
        killed.start()
        killed.join(60)
        report = fetch(config, "pacs", SPRING, FakeCustody())

    assert killed.exitcode == -signal.SIGKILL
    assert (report.already_here, report.fetched) == (2, 2)
    assert held(ours) == uids(instance for study in studies for instance in study)


def test_a_pacs_that_restarts_in_the_middle_is_called_again(tmp_path):
    studies = [a_study(f"2019030{day}", "CT") for day in (1, 2, 3)]
    ours = FakeCustody()
    restarts = []

    with (
        a_receiver(ours) as door,
        running(orthanc(tmp_path / "pacs", door.port)) as pacs,
    ):
        pacs.add([instance for study in studies for instance in study])

        def restart(progress) -> None:
            if progress.fetched == 1 and not restarts:
                restarts.append(progress)
                pacs.stop()
                pacs.start()

        report = fetch(settings(tmp_path, pacs), "pacs", SPRING, FakeCustody(), restart)

    assert restarts
    assert (report.fetched, report.failed, report.complete) == (3, 0, True)
    assert held(ours) == uids(instance for study in studies for instance in study)


def test_a_study_that_grew_is_fetched_again_only_where_it_grew(tmp_path):
    study = a_study("20190302", "CT", "MR", instances=3)
    ours = FakeCustody()

    with running(orthanc(tmp_path / "pacs", None)) as pacs:
        pacs.add(study[:-1])
        config = settings(tmp_path, pacs)
        fetch(config, "pacs", SPRING, ours)
        pacs.add(study[-1:])
        report = fetch(config, "pacs", SPRING, ours)

    assert (report.already_here, report.fetched, report.instances) == (0, 1, 3)
    assert set(held(ours)) == set(uids(study))
    assert max(held(ours)[instance.SOPInstanceUID] for instance in study[:3]) == 1


def test_it_stops_when_asked_and_says_what_is_left(tmp_path):
    studies = [a_study(f"2019030{day}", "CT") for day in (1, 2, 3)]
    stop = threading.Event()
    seen = []

    def stop_after_one(progress) -> None:
        seen.append(progress)
        if progress.fetched == 1:
            stop.set()

    with running(orthanc(tmp_path / "pacs", None)) as pacs:
        pacs.add([instance for study in studies for instance in study])
        config = settings(tmp_path, pacs)
        report = fetch(config, "pacs", SPRING, FakeCustody(), stop_after_one, stop=stop)

    assert report.stopped == "asked to stop"
    assert (report.studies, report.fetched, report.failed) == (3, 1, 0)
    assert not report.complete
    assert seen[-1].seconds_left is not None


def test_the_rate_is_kept(tmp_path):
    studies = [a_study(f"2019030{day}", "CT") for day in (1, 2, 3)]

    with running(orthanc(tmp_path / "pacs", None)) as pacs:
        pacs.add([instance for study in studies for instance in study])
        pace = Pace(studies_per_hour=3600 / 0.7)
        report = fetch(settings(tmp_path, pacs), "pacs", SPRING, FakeCustody(), pace=pace)

    assert report.fetched == 3
    assert report.seconds >= 1.4


def test_a_refused_instance_makes_the_study_fail_and_be_tried_again(tmp_path):
    study = a_study("20190302", "CT")
    ours = FakeCustody(full=True)

    with (
        a_receiver(ours) as door,
        running(orthanc(tmp_path / "pacs", door.port)) as pacs,
    ):
        pacs.add(study)
        config = settings(tmp_path, pacs)
        report = fetch(config, "pacs", SPRING, FakeCustody(), method=Method.MOVE)
        ours.full = False
        mended = fetch(config, "pacs", SPRING, FakeCustody(), method=Method.MOVE)

    assert (report.fetched, report.failed, report.complete) == (0, 1, False)
    assert (mended.fetched, mended.failed) == (1, 0)
    eventually(lambda: held(ours) == uids(study))


def test_a_full_disk_ends_it_before_anything_is_asked_for(tmp_path):
    with running(orthanc(tmp_path / "pacs", None)) as pacs:
        pacs.add(a_study("20190302", "CT"))
        ours = FakeCustody()
        config = settings(tmp_path, pacs, reserve_bytes=1 << 60)
        report = fetch(config, "pacs", SPRING, ours)

    assert "reserve" in report.stopped
    assert not ours.held


def test_a_pacs_that_only_lists_is_named_with_what_to_do(tmp_path):
    nobody = {"AET": "RADFED", "Host": "127.0.0.1", "Port": free_port(), "AllowGet": False}
    refusing = {"DicomModalities": {"us": nobody}, "DicomAlwaysAllowGet": False}

    with running(orthanc(tmp_path / "pacs", None, **refusing)) as pacs:
        pacs.add([i for day in range(1, 5) for i in a_study(f"2019030{day}", "CT", "MR")])
        with pytest.raises(PeerUnreachable, match="knows `RADFED`"):
            fetch(settings(tmp_path, pacs), "pacs", SPRING, FakeCustody())


def test_an_absent_pacs_and_an_unknown_name_are_said_at_once(tmp_path):
    class Absent:
        ae_title, port = "PACS", free_port()

    config = settings(tmp_path, Absent)

    with pytest.raises(PeerUnreachable, match="cannot be reached"):
        fetch(config, "pacs", SPRING, FakeCustody())
    with pytest.raises(ConfigurationFault, match="the settings name: pacs"):
        fetch(config, "elsewhere", SPRING, FakeCustody())
