"""Back-fill from dcmtk's archive, which shares no code with Orthanc's query and retrieve."""

from datetime import date

import pytest

from gateway.intake.fetch import fetch
from gateway.intake.fetch_rules import FetchQuery, Method
from tests.fakes.archives import a_study, dcmqrscp, running
from tests.fakes.custody import FakeCustody
from tests.fakes.fetching import held, settings, uids
from tests.fakes.receiver import PEERS, a_receiver

pytestmark = pytest.mark.flow
SPRING = FetchQuery(date(2019, 3, 1), date(2019, 3, 3), frozenset({"CT"}))


@pytest.mark.parametrize("method", list(Method))
def test_the_asked_series_come_once(tmp_path, method):
    wanted, other = a_study("20190302", "CT"), a_study("20190303", "MR") + a_study("20190304", "CT")
    moved, given = FakeCustody(), FakeCustody()
    peers = (*PEERS, PEERS[0].model_copy(update={"name": "archive", "ae_title": "ARCHIVE"}))

    with (
        a_receiver(moved, peers=peers) as door,
        running(dcmqrscp(tmp_path / "pacs", door.port)) as pacs,
    ):
        pacs.add([*wanted, *other])
        config = settings(tmp_path, pacs)
        report = fetch(config, "pacs", SPRING, given, method=method)
        again = fetch(config, "pacs", SPRING, given, method=method)

    assert report.complete
    assert (report.fetched, report.without, report.instances) == (1, 1, 2)  # it lists the MR too
    assert (again.fetched, again.instances) == (0, 0)
    by_method = given if method is Method.GET else moved
    assert held(by_method) == uids(wanted)
    assert not (moved if method is Method.GET else given).held


def test_an_archive_that_gives_nothing_is_moved_from(tmp_path):
    study, ours = a_study("20190302", "CT"), FakeCustody()
    peers = (PEERS[0].model_copy(update={"name": "archive", "ae_title": "ARCHIVE"}),)

    with (
        a_receiver(ours, peers=peers) as door,
        running(dcmqrscp(tmp_path / "pacs", door.port, "--disable-get")) as pacs,
    ):
        pacs.add(study)
        moved = fetch(settings(tmp_path, pacs), "pacs", SPRING, FakeCustody())

    assert (moved.series_moved, moved.series_got) == (1, 0)
    assert held(ours) == uids(study)
