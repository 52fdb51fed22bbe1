"""Instances a note rejects count nowhere, whichever came first, and after any rebuild."""

import itertools

import pytest

from gateway.store.index import Index
from gateway.store.reindex import reindex
from gateway.store.tally import Grouped, Tally
from tests.fakes.custody_house import House, corrected, dataset_of, shipped, written
from tests.fakes.rejecting import note

pytestmark = pytest.mark.flow

CT = shipped("CT_small.dcm")
SECOND = corrected(CT, SOPInstanceUID="1.2.840.55.2", InstanceNumber=2)
ELSEWHERE = corrected(
    CT, SOPInstanceUID="1.2.840.55.3", SeriesInstanceUID="1.2.840.55.30", BodyPartExamined="HEAD"
)
UNITS = ("patients", "studies", "series", "instances")


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def counts(index):
    tally = Tally(index)
    return tuple(sum(tally.count(unit, [], [], 100, 1).values()) for unit in UNITS)


def settle(house, *instances):
    index = house.index()
    line = house.line(index)
    for instance in instances:
        house.take(instance)
        line.run_once()
    line.run_once()
    line.close()
    return index


@pytest.mark.parametrize("order", list(itertools.permutations((CT, SECOND, note(CT)))))
def test_the_order_of_note_and_instances_changes_nothing(house, order):
    index = settle(house, *order)

    assert counts(index) == (1, 1, 1, 1)
    assert index.counts()["hidden"] == 2  # the instance and the note
    (series,) = {row.series_uid for row in Tally(index).select([])}
    assert len(Tally(index).files(series)) == 1


def test_a_patient_of_whom_everything_was_rejected_is_nobody(house):
    index = settle(house, CT, SECOND, ELSEWHERE, note(CT, SECOND, ELSEWHERE))

    assert counts(index) == (0, 0, 0, 0)
    assert Tally(index).select([]) == []
    assert Tally(index).spellings("Modality") == []
    assert index.counts()["instances"] == 4


@pytest.mark.parametrize("title", ["113001", "113037", "113038", "113039"])
def test_every_reason_hides_and_is_on_the_trail(house, title):
    index = settle(house, CT, note(CT, title=title))

    assert counts(index) == (0, 0, 0, 0)
    (facts,) = [facts for event, facts in house.trail.events if event == "instances_rejected"]
    assert (facts["title"], facts["count"], facts["sender"]) == (title, 1, "PACS")
    assert "1.2.840" not in str(facts)
    assert house.store.path(index.read("SELECT path FROM instance")[0][0]).exists()


def test_an_ordinary_key_object_selection_hides_nothing(house):
    index = settle(house, CT, note(CT, title="113000"))

    assert counts(index)[3] == 2


def test_what_a_corrected_note_no_longer_names_is_shown_again(house):
    first = note(CT, SECOND)
    index = settle(house, CT, SECOND, first)
    assert counts(index) == (0, 0, 0, 0)

    document = dataset_of(note(SECOND))
    index = settle(house, written(document, first))

    assert counts(index) == (1, 1, 1, 1)


def test_a_rebuilt_index_hides_the_same(house, tmp_path):
    index = settle(house, CT, SECOND, ELSEWHERE, note(SECOND, ELSEWHERE))
    before = counts(index)

    fresh = Index.open(tmp_path / "fresh.db")
    reindex(house.store, fresh, at=0.0)

    assert counts(fresh) == before == (1, 1, 1, 1)
    assert fresh.counts()["hidden"] == index.counts()["hidden"] == 3


def test_a_note_whose_file_is_gone_hides_no_longer(house):
    index = settle(house, CT, note(CT))
    (path,) = [p for p in house.files() if b"1.2.840.10008.5.1.4.1.1.88.59" in p.read_bytes()]
    path.unlink()

    reindex(house.store, index, at=0.0)

    assert counts(index) == (1, 1, 1, 1)


def test_a_rejected_slice_does_not_lower_a_series_grade(house):
    settle(house, CT, SECOND)

    index = settle(house, note(SECOND))

    assert index.read("SELECT count(*) FROM series WHERE grade IS NULL AND hidden = 0")[0][0] == 0


def test_hidden_instances_are_in_no_group(house):
    index = settle(house, CT, ELSEWHERE, note(ELSEWHERE))
    by = Grouped("BodyPartExamined", tuple((w, w, w) for w in ("CHEST", "HEAD", "")))

    cells = Tally(index).count("series", [], [by], 100, 10)

    assert sum(cells.values()) == 1
    assert ("HEAD",) not in cells
