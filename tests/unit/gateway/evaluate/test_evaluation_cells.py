import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.evaluate.cells import ALL, Cell, Unit, compare, count, shown, units
from gateway.evaluate.predictions import Fault, Scored, read_scored
from gateway.evaluate.statistics import NoStatistics, StatisticsCode
from protos.scores import JOINT_BINS, score_bin

TRUTH = {"1.1": 1, "1.2": 0, "1.3": 0}


def rows(*lines):
    return "\n".join(("case,score", *lines, "")).encode()


def test_what_a_product_could_not_score_is_counted_not_dropped():
    scored = read_scored(rows("1.1,0.9", "1.2,nan"), TRUTH)

    assert scored == Scored({"1.1": 0.9}, {"1.2": Fault.UNUSABLE, "1.3": Fault.MISSING})


@pytest.mark.parametrize("text", ["inf", "-0.1", "1.01", "high", "", "NaN"])
def test_a_score_that_is_none_is_unusable(text):
    assert read_scored(rows(f"1.1,{text}"), TRUTH).faults["1.1"] is Fault.UNUSABLE


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (rows("9.9,0.5"), StatisticsCode.UNKNOWN_CASE),
        (rows("1.1,0.5", "1.1,0.5"), StatisticsCode.DUPLICATE_CASE),
        (rows("1.1,nan", "1.1,0.5"), StatisticsCode.DUPLICATE_CASE),
        (rows("1.1,0.5,more"), StatisticsCode.MALFORMED),
        (b"\xff", StatisticsCode.MALFORMED),
        (b"", StatisticsCode.MALFORMED),
    ],
)
def test_a_file_that_cannot_be_trusted_gives_nothing(raw, code):
    assert read_scored(raw, TRUTH) == NoStatistics(code)


def test_an_earlier_product_may_have_scored_a_patient_who_withdrew_since():
    scored = read_scored(rows("1.1,0.9", "9.9,0.5"), TRUTH, earlier=True)

    assert scored.scores == {"1.1": 0.9}
    assert set(scored.faults.values()) == {Fault.MISSING}


@given(st.binary(max_size=200))
def test_noise_is_an_outcome_too(raw):
    assert isinstance(read_scored(raw, TRUTH), Scored | NoStatistics)


def test_a_patient_counts_once():
    truth = {"1.1": 0, "1.2": 1, "2.1": 0}
    patients = {"1.1": "p1", "1.2": "p1", "2.1": "p2"}
    scored = Scored({"1.1": 0.2, "1.2": 0.7, "2.1": 0.4}, {})

    found = units(scored, truth, patients, {"1.1": {"PatientSex": "F"}})

    assert found == [
        Unit(0.7, None, positive=True, groups={"PatientSex": "F"}),
        Unit(0.4, None, positive=False, groups={}),
    ]


def test_a_patient_with_an_unscored_case_is_unscored():
    scored = Scored({"1.1": 0.2}, {"1.2": Fault.MISSING})
    patients = dict.fromkeys(("1.1", "1.2"), "p1")

    (unit,) = units(scored, {"1.1": 0, "1.2": 1}, patients, {})

    assert (unit.score, unit.fault) == (None, Fault.MISSING)
    cells, unscored = count([unit], 0.5, [])
    assert cells[ALL].size == (0, 0)
    assert unscored.missing_positives == 1


def people(sex, positives, negatives, score=0.5):
    sides = [True] * positives + [False] * negatives
    return [Unit(score, None, positive=side, groups={"PatientSex": sex}) for side in sides]


def seen(*listed):
    cells, _ = count([unit for each in listed for unit in each], 0.5, ["PatientSex"])
    return {key: cell.size for key, cell in shown(cells).items()}


def test_a_cell_leaves_from_ten_and_ten():
    assert seen(people("F", 12, 30), people("M", 10, 10)) == {
        ALL: (22, 40),
        ("PatientSex", "F"): (12, 30),
        ("PatientSex", "M"): (10, 10),
    }


def test_a_small_cell_is_not_found_by_subtraction():
    assert seen(people("F", 40, 40), people("M", 20, 20), people("O", 1, 2)) == {
        ALL: (61, 62),
        ("PatientSex", "F"): (40, 40),
    }
    assert seen(people("F", 40, 40), people("O", 1, 2)) == {ALL: (41, 42)}


def test_a_hospital_under_ten_and_ten_shows_nothing():
    assert seen(people("F", 9, 400)) == {}
    assert seen(people("F", 0, 400)) == {}
    assert seen() == {}


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=6))
def test_no_remainder_is_ever_small(sizes):
    listed = [people(str(i), *size) for i, size in enumerate(sizes)]

    found = seen(*listed)

    if found:
        whole = found.pop(ALL)
        left = [whole[side] - sum(size[side] for size in found.values()) for side in (0, 1)]
        assert not found or left == [0, 0] or min(left) >= 10


def test_calls_at_the_threshold_are_counted_on_scores_not_on_bins():
    cell = Cell()
    for score in (0.5001, 0.4999):
        cell.add(score, 0.5001, positive=True)
        cell.add(score, 0.5001, positive=False)

    assert (cell.true_positives, cell.false_positives) == (1, 1)
    assert cell.bits == pytest.approx(2 * math.log2(math.comb(2 + 199, 199)))


def test_two_products_are_counted_where_both_have_a_score():
    first = [*people("F", 12, 12, 0.9), Unit(None, Fault.MISSING, positive=True, groups={})]
    second = people("F", 12, 12, 0.1) + people("F", 1, 0)

    found = compare(first, second, (0.5, 0.5))

    cell = (score_bin(0.9) // 4) * JOINT_BINS + score_bin(0.1) // 4
    assert (found.positives, found.negatives) == ({cell: 12}, {cell: 12})
    assert (found.first_alone, found.second_alone) == (12, 12)
    assert found.bits > 100
    assert compare(first[:9], second[:9], (0.5, 0.5)) is None
