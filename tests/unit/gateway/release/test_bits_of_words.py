"""No message of a round is free: over all that can be said, charges leave no room beside them."""

from math import comb, log2

import pytest

from gateway.desk.charging import code_bits
from gateway.desk.rules import OUTCOME_CODES
from gateway.release.rules import histogram_bits, outcome_bits
from gateway.release.statistics import statistics_bits
from protos.job_manifest import MetricSpec, parse_manifest
from protos.scores import BINS
from protos.tensors import TensorSpec
from protos.v1.job_pb2 import EvaluationCell, EvaluationStatistics, Metric, TaskOutcome

MANIFEST = """
name = "a"
kind = "training"
purpose = "p"
label = "l"
cohort = [{ field = "Modality", values = ["CT"] }]
weights.w = { shape = [1] }
"""
DECLARED = {f"m{n}": MetricSpec(name=f"m{n}") for n in range(16)}


def test_a_metric_that_is_not_told_is_charged_like_one_that_is():
    told = TaskOutcome(metrics=[Metric(name="m3", value=0.5)])
    every = 102 ** len(DECLARED)  # each of 101 values, or absent

    assert outcome_bits(told, DECLARED, 1) == outcome_bits(TaskOutcome(), DECLARED, 1)
    assert outcome_bits(told, DECLARED, 1) >= log2(every)


def test_a_code_is_charged_for_each_name_that_may_stand_beside_it():
    weights = {f"layer{n}": TensorSpec(shape=(1,)) for n in range(300)}
    manifest = parse_manifest(MANIFEST).model_copy(
        update={"weights": weights, "imports": ("a", "b")}
    )
    words = len(OUTCOME_CODES) + 2 * 300 + 2  # a mismatch and a value that is not finite name one

    assert code_bits(manifest) >= log2(words)


@pytest.mark.parametrize("cases", [10, 100, 1000])
def test_calls_at_a_threshold_inside_a_bin_are_charged(cases):
    said = EvaluationStatistics(cells=[a_cell(cases)])

    every = comb(cases + BINS, BINS)  # the bin that the threshold cuts is two
    assert statistics_bits(said) >= 2 * log2(every) - 1e-6


def test_which_patients_a_product_declines_is_charged_where_subgroups_show_it():
    cells = [a_cell(100), a_cell(50, "PatientSex", "F"), a_cell(50, "PatientSex", "M")]
    said = EvaluationStatistics(cells=cells)
    before = statistics_bits(said)

    said.unscored.missing_positives = 20

    # The whole says how many; each sex says how many of them were of it.
    whole = histogram_bits(220, 7) - histogram_bits(200, 7)
    assert statistics_bits(said) - before >= whole + log2(21)


def test_what_two_products_got_right_alone_is_charged():
    said = EvaluationStatistics(cells=[a_cell(100)])
    before = statistics_bits(said)
    for cells, counts in (
        (said.comparison.positive_cells, said.comparison.positive_counts),
        (said.comparison.negative_cells, said.comparison.negative_counts),
    ):
        cells.append(0)
        counts.append(100)

    joint = 2 * histogram_bits(100, 400)
    assert statistics_bits(said) - before >= joint + log2(comb(202, 2)) - 1e-6


def a_cell(cases, field="", bin_=""):
    counts = [cases] + [0] * (BINS - 1)
    return EvaluationCell(field=field, bin=bin_, positives=counts, negatives=counts)
