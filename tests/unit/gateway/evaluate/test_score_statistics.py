import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.evaluate.statistics import (
    NoStatistics,
    ScoreHistogram,
    StatisticsCode,
    read_predictions,
    score_histogram,
)
from protos.scores import BINS, LOGIT_EDGES, score_bin

CASES = ["1.2.3", "1.2.4"]


def rows(*lines):
    return "\n".join(("case,score", *lines, "")).encode()


def test_each_expected_case_once_is_read():
    assert read_predictions(rows("1.2.3,0.25", "1.2.4,1e-3"), CASES) == {
        "1.2.3": 0.25,
        "1.2.4": 0.001,
    }


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", StatisticsCode.MALFORMED),
        (b"\xff\xfe", StatisticsCode.MALFORMED),
        (b"id,score\n1.2.3,0.5\n", StatisticsCode.MALFORMED),
        (rows("1.2.3,0.5", "1.2.4"), StatisticsCode.MALFORMED),
        (rows("1.2.3,0.5", "1.2.4,high"), StatisticsCode.MALFORMED),
        (rows("1.2.3,0.5,ZHANG^WEI", "1.2.4,0.5"), StatisticsCode.MALFORMED),
        (rows("1.2.3,0.5", '1.2.4,"0.5'), StatisticsCode.MALFORMED),
        (rows("1.2.3,0.5"), StatisticsCode.MISSING_CASE),
        (rows(), StatisticsCode.MISSING_CASE),
        (rows("1.2.3,0.5", "1.2.4,0.5", "9.9,0.5"), StatisticsCode.UNKNOWN_CASE),
        (rows("1.2.3,0.5", "1.2.3,0.5"), StatisticsCode.DUPLICATE_CASE),
        (rows("1.2.3,0.5", "1.2.4,1.0000001"), StatisticsCode.SCORE_OUT_OF_RANGE),
        (rows("1.2.3,0.5", "1.2.4,-0.1"), StatisticsCode.SCORE_OUT_OF_RANGE),
        (rows("1.2.3,0.5", "1.2.4,nan"), StatisticsCode.SCORE_OUT_OF_RANGE),
        (rows("1.2.3,0.5", "1.2.4,inf"), StatisticsCode.SCORE_OUT_OF_RANGE),
    ],
)
def test_every_other_file_has_a_code(raw, code):
    assert read_predictions(raw, CASES) == NoStatistics(code)


@given(st.binary(max_size=200))
def test_noise_never_crashes(raw):
    assert isinstance(read_predictions(raw, CASES), NoStatistics)


def predictions(positives, negatives):
    scores = {f"p{i}": 0.9 for i in range(positives)} | {f"n{i}": 0.1 for i in range(negatives)}
    return scores, {case: int(case.startswith("p")) for case in scores}


def test_cells_are_given_from_ten_and_ten():
    histogram = score_histogram(*predictions(10, 12))

    assert isinstance(histogram, ScoreHistogram)
    assert histogram.edges == LOGIT_EDGES
    assert sum(histogram.positives) == 10
    assert sum(histogram.negatives) == 12


@pytest.mark.parametrize(("positives", "negatives"), [(9, 500), (500, 9), (0, 0), (500, 0)])
def test_under_ten_of_either_nothing_is_given(positives, negatives):
    assert score_histogram(*predictions(positives, negatives)) == NoStatistics(
        StatisticsCode.TOO_FEW_CASES
    )


def test_a_bin_is_the_one_whose_edges_enclose_the_logit():
    assert len(LOGIT_EDGES) == BINS - 1
    assert score_bin(0.0) == 0
    assert score_bin(1.0) == BINS - 1
    assert score_bin(0.5) == 100  # an edge belongs to the bin above it
    assert score_bin(1e-300) == 0


@given(st.floats(0, 1), st.floats(0, 1))
def test_bins_keep_the_order_of_scores(one, other):
    low, high = sorted((one, other))

    assert 0 <= score_bin(low) <= score_bin(high) < BINS


@given(st.floats(1e-4, 1 - 1e-4))
def test_every_score_lies_in_its_bin(score):
    found = score_bin(score)
    logit = math.log(score) - math.log1p(-score)

    assert (LOGIT_EDGES[found - 1] if found else -math.inf) <= logit
    assert logit < (LOGIT_EDGES[found] if found < BINS - 1 else math.inf)


def test_what_a_vendor_can_write_into_a_histogram_is_counted():
    histogram = score_histogram(*predictions(20, 30))

    exact = math.log2(math.comb(20 + 199, 199)) + math.log2(math.comb(30 + 199, 199))
    assert histogram.bits == pytest.approx(exact, rel=1e-9)
