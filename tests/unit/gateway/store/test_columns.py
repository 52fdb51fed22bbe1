"""Columns count as the SQL of the index counts, over an index with everything odd in it."""

import random
from collections import Counter
from dataclasses import replace
from itertools import product

import pytest

from gateway.cohort.count import count
from gateway.cohort.rules import Canonical, canonical
from gateway.store.columns import read_columns
from gateway.store.index import VISIBLE, Index
from gateway.store.labels import Label, add_labels
from gateway.store.snapshot import Snapshot
from gateway.store.standing import Standing
from gateway.store.tally import ROWS, SPELLING, Tally
from protos.v1.question_pb2 import CountUnit, Operator, Predicate, Question
from tests.fakes.hospital import facts

WORDS = {
    "modality": ("CT", "MR", "DX", "", "ct", "XX"),
    "body_part": ("CHEST", "HEAD", "", "LUNG"),
    "sex": ("F", "M", "O", ""),
    "age_years": (None, 0, 49, 50, 89),
    "study_year": (None, 1999, 2024, 2026),
    "manufacturer": ("GE MEDICAL SYSTEMS", "Philips", "", "Nobody"),
    "slice_thickness_mm": (None, 0.625, 1.0, 5.0, 12.5),
}
WHERE = (
    ("Modality", Operator.OPERATOR_EQUAL, "CT"),
    ("Modality", Operator.OPERATOR_NOT_EQUAL, "CT"),
    ("PatientAge", Operator.OPERATOR_GREATER_OR_EQUAL, "50"),
    ("SliceThickness", Operator.OPERATOR_LESS_OR_EQUAL, "1"),
    ("PatientSex", Operator.OPERATOR_EQUAL, "F"),
    ("StudyYear", Operator.OPERATOR_GREATER, "2020"),
    ("Label", Operator.OPERATOR_EQUAL, "POSITIVE"),
    ("QualityGrade", Operator.OPERATOR_EQUAL, "A"),
)
GROUPS = ("Modality", "PatientAge", "Manufacturer", "StudyYear", "Label", "SliceThickness")
HIDDEN = "2.25.2.0.0"
UNITS = (
    CountUnit.COUNT_UNIT_PATIENTS,
    CountUnit.COUNT_UNIT_STUDIES,
    CountUnit.COUNT_UNIT_SERIES,
    CountUnit.COUNT_UNIT_INSTANCES,
    CountUnit.COUNT_UNIT_BYTES,
)


def an_odd_index(path, seed):
    """Return an index whose series, studies and patients share, lack and hide things."""
    draw = random.Random(seed)
    index = Index.open(path)
    batch = []
    for study in range(120):
        patient = draw.randrange(40)
        of_study = {name: draw.choice(WORDS[name]) for name in ("sex", "age_years", "study_year")}
        for series in range(draw.randint(1, 4)):
            of_series = {
                name: draw.choice(WORDS[name])
                for name in ("modality", "body_part", "manufacturer", "slice_thickness_mm")
            }
            batch += [
                facts(
                    patient,
                    sop_uid=f"2.25.{study}.{series}.{image}",
                    series_uid=f"2.25.{study}.{series}",
                    study_uid=f"2.25.{study}",
                    countable=patient % 9 != 0,
                    size_bytes=draw.randint(1, 3 << 20),
                    **of_study,
                    **of_series,
                )
                for image in range(draw.randint(1, 3))
            ]
    index.add(batch, 1.0)
    with index.transaction() as connection:
        connection.execute("UPDATE instance SET hidden = 1 WHERE rowid % 17 = 0")
        connection.execute("UPDATE instance SET hidden = 1 WHERE sop_uid = ?", (HIDDEN,))
    for series in draw.sample(sorted({one.series_uid for one in batch}), 60):
        index.grade(series, draw.choice("ABCD"), [], 2.0)
    add_labels(index, odd_labels(draw))
    with index.transaction() as connection:
        connection.execute("UPDATE series SET hidden = 1 WHERE rowid % 13 = 0")
    index.restate(
        lambda: {
            "p0003": Standing("p0004", withdrawn=False),
            "p0005": Standing("p0005", withdrawn=True),
        }
    )
    return index


def odd_labels(draw):
    """Yield words on series, studies and patients, of readers who differ and of boards.

    Some come from objects: one that is there, one that is hidden, one that is not.
    """
    for target, series, study, patient in (
        *((f"2.25.{n}.0", True, False, False) for n in range(80)),
        *((f"2.25.{n}", False, True, False) for n in range(0, 150, 2)),
        *((f"p{n:04d}", False, False, True) for n in range(0, 45, 3)),
    ):
        for reader in draw.sample(("r1", "r2", "board"), draw.randint(0, 3)):
            yield Label(
                target if study else None,
                target if series else None,
                draw.choice(("nodule", "Ödem")),
                draw.choice(("1", "0", "odd", "true", "NEGATIVE", "positive", "ödem")),
                reader,
                target if patient else None,
                adjudicated=reader == "board" and draw.random() < 0.7,
                source=draw.choice(("", "", "2.25.0.0.0", HIDDEN, "2.25.999.0.0")),
            )


def questions(draw, many):
    for _ in range(many):
        asked = Question(unit=draw.choice(UNITS))
        asked.group_by.extend(draw.sample(GROUPS, draw.randint(0, 2)))
        for field, operator, value in draw.sample(WHERE, draw.randint(0, 2)):
            asked.where.append(Predicate(field=field, operator=operator, values=[value]))
        found = canonical(asked)
        assert isinstance(found, Canonical)
        yield found


@pytest.mark.parametrize("seed", range(3))
def test_columns_and_sql_agree(tmp_path, seed):
    index = an_odd_index(tmp_path / "index.db", seed)
    columns = read_columns(tmp_path / "index.db")
    by_sql, by_columns = Tally(index), Tally(index, lambda: columns)
    assert Counter(label_of(columns, row) for row in range(columns.series)) == words_by_sql(index)
    for asked, clip in product(questions(random.Random(seed), 40), (1, 3)):
        assert count(asked, by_columns, clip) == count(asked, by_sql, clip), asked


def test_an_empty_index_has_columns_too(tmp_path):
    index = Index.open(tmp_path / "index.db")
    columns = read_columns(tmp_path / "index.db")
    for asked in questions(random.Random(1), 10):
        assert not any(count(asked, Tally(index, lambda: columns), 3).values())


def test_a_small_index_is_left_to_sql(tmp_path):
    index = Index.open(tmp_path / "index.db")
    index.add([facts(1)])
    assert Snapshot(index, tmp_path / "index.db")() is None


def test_images_wait_for_the_next_reading_and_decisions_do_not(tmp_path):
    clock = [0.0]
    index = Index.open(tmp_path / "index.db")
    writer = Index.open(tmp_path / "index.db")  # in life another connection, the line's
    writer.add([facts(number) for number in range(5)])
    snapshot = Snapshot(index, tmp_path / "index.db", large=1, clock=lambda: clock[0])
    assert snapshot().series == 5
    writer.add([facts(6)])
    assert snapshot().series == 5
    writer.restate(lambda: {"p0001": Standing("p0001", withdrawn=True)})
    assert snapshot().series == 5  # the sixth came, the withdrawn one went
    writer.add([facts(7)])
    clock[0] += 10_000
    snapshot()
    snapshot._reading.join()
    assert snapshot().series == 6


@pytest.mark.parametrize("value", ["NEGATIVE", "positive", "1"])
def test_a_label_that_a_person_changed_is_in_the_next_count(tmp_path, value):
    index = Index.open(tmp_path / "index.db")
    writer = Index.open(tmp_path / "index.db")
    writer.add([facts(number) for number in range(5)])
    said = Label(None, facts(1).series_uid, "nodule", "POSITIVE", "r1")
    add_labels(writer, [said, replace(said, series_uid=facts(2).series_uid, value=value)])
    snapshot = Snapshot(index, tmp_path / "index.db", large=1, clock=lambda: 0.0)
    first = snapshot()

    add_labels(writer, [said])  # the same file again
    again = snapshot()
    add_labels(writer, [replace(said, value="NEGATIVE")])
    changed = snapshot()
    add_labels(writer, [replace(said, reader="board", adjudicated=True)])
    settled = snapshot()

    assert again is first
    assert label_of(changed, 1) == "NEGATIVE"
    assert label_of(settled, 1) == "POSITIVE"


def test_a_label_in_a_stored_object_waits_as_its_images_do(tmp_path):
    index = Index.open(tmp_path / "index.db")
    writer = Index.open(tmp_path / "index.db")
    writer.add([facts(number) for number in range(5)])
    snapshot = Snapshot(index, tmp_path / "index.db", large=1, clock=lambda: 0.0)
    first = snapshot()
    said = Label(None, facts(1).series_uid, "nodule", "POSITIVE", "SEG 1", source=facts(0).sop_uid)

    add_labels(writer, [said], [facts(0).sop_uid])

    assert snapshot() is first
    assert label_of(read_columns(tmp_path / "index.db"), 1) == "POSITIVE"


def test_more_words_than_a_byte_can_number_are_columns_too(tmp_path):
    index = Index.open(tmp_path / "index.db")
    index.add([facts(number) for number in range(300)])
    add_labels(
        index, [Label(None, facts(n).series_uid, "size", f"{n} mm", "r1") for n in range(300)]
    )
    columns = read_columns(tmp_path / "index.db")
    assert {label_of(columns, row) for row in range(300)} == {f"{n} MM" for n in range(300)}


def words_by_sql(index):
    sql = f"SELECT {SPELLING['Label']} FROM {ROWS} WHERE {VISIBLE}"
    return Counter(row[0] for row in index.read(sql))


def label_of(columns, row):
    return columns.words["Label"][columns.codes["Label"][row]]


def test_a_series_that_lost_an_instance_is_measured_again(tmp_path):
    index = Index.open(tmp_path / "index.db")
    many = [facts(1, sop_uid=f"2.25.1.{n}", path=f"{n}.dcm") for n in range(3)]
    index.add(many, 1.0)
    index.grade("2.25.12", "A", [], 2.0)
    assert read_columns(tmp_path / "index.db").instances.tolist() == [3]
    index.forget(["2.25.1.0"], 3.0)
    columns = read_columns(tmp_path / "index.db")
    assert (columns.instances.tolist(), columns.size_bytes.tolist()) == ([2], [2000])


def test_the_next_start_goes_on_with_what_was_read(tmp_path):
    index = Index.open(tmp_path / "index.db")
    writer = Index.open(tmp_path / "index.db")
    writer.add([facts(number) for number in range(5)])
    read = Snapshot(index, tmp_path / "index.db", large=1)()
    writer.add([facts(6)])
    again = Snapshot(index, tmp_path / "index.db", large=1, clock=lambda: 0.0)()
    assert again.series == 5  # as kept: the sixth comes with the next reading
    for asked in questions(random.Random(2), 20):
        told = [count(asked, Tally(index, lambda c=c: c), 3) for c in (read, again)]
        assert told[0] == told[1]
    writer.restate(lambda: {"p0001": Standing("p0001", withdrawn=True)})
    assert Snapshot(index, tmp_path / "index.db", large=1)().series == 5  # a decision: read anew
    (tmp_path / "index.columns").write_bytes(b"PK damaged")
    assert Snapshot(index, tmp_path / "index.db", large=1)().series == 5
