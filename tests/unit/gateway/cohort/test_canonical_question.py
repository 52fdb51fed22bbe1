from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cohort.rules import NotSupported, bin_of, canonical, cost, labels, satisfies
from protos.v1.question_pb2 import (
    COUNT_UNIT_PATIENTS,
    COUNT_UNIT_UNSPECIFIED,
    Operator,
    Predicate,
    Question,
)
from protos.vocabulary import FIELDS, FieldKind


def where(field, operator, *values):
    return Predicate(field=field, operator=f"OPERATOR_{operator}", values=values)


def ask(*predicates, by=(), unit=COUNT_UNIT_PATIENTS):
    return canonical(Question(unit=unit, where=predicates, group_by=by))


def test_order_repeats_and_tautologies_do_not_make_another_question():
    ct = where("Modality", "EQUAL", "CT")
    old = where("PatientAge", "GREATER_OR_EQUAL", "50")
    anyone = where("PatientSex", "IN", *labels("PatientSex"))

    assert ask(ct, old).digest == ask(old, ct, ct).digest == ask(ct, anyone, old).digest
    assert ask(ct, old).digest != ask(ct).digest


def test_a_comparison_with_an_edge_is_answered_as_asked():
    (thin,) = ask(where("SliceThickness", "LESS_OR_EQUAL", "1.0")).where

    assert satisfies(thin, 1.0)
    assert satisfies(thin, 0.6)
    assert not satisfies(thin, 1.25)
    assert not satisfies(thin, None)


def test_a_comparison_with_another_number_is_widened_to_its_bin():
    between = ask(where("PatientAge", "GREATER", "53"))

    assert between.digest == ask(where("PatientAge", "GREATER_OR_EQUAL", "50")).digest
    assert between.digest == ask(where("PatientAge", "GREATER", "57.5")).digest


def test_a_year_is_the_same_question_however_it_is_spelt():
    year = ask(where("StudyYear", "EQUAL", "2024"))
    low, high = where("StudyYear", "GREATER_OR_EQUAL", "2024"), where("StudyYear", "LESS", "2025")
    years = [str(number) for number in range(2000, 2041)]

    assert year.digest == ask(low, high).digest
    assert year.digest == ask(low, where("StudyYear", "LESS_OR_EQUAL", "2024")).digest
    assert year.digest != ask(where("StudyYear", "EQUAL", "2025")).digest
    every = where("StudyYear", "IN", *years, "UNKNOWN")
    assert ask(every, where("StudyYear", "LESS", "2041")).digest != ask(every).digest


def test_a_band_is_its_two_comparisons():
    band = where("PatientAge", "EQUAL", "50-60")
    low, high = where("PatientAge", "GREATER_OR_EQUAL", "50"), where("PatientAge", "LESS", "60")
    thick = where("SliceThickness", "EQUAL", "1-1.5mm")

    assert ask(band).digest == ask(low, high).digest
    (condition,) = ask(thick).where
    assert [satisfies(condition, mm) for mm in (0.9, 1.0, 1.25, 1.5)] == [False, True, True, False]
    oldest = ask(where("PatientAge", "IN", ">=80", "UNKNOWN")).where[0]
    assert satisfies(oldest, 89)
    assert satisfies(oldest, None)
    assert not satisfies(oldest, 79)


def test_different_from_leaves_out_what_is_unknown():
    (condition,) = ask(where("Modality", "NOT_EQUAL", "CT")).where

    assert satisfies(condition, "MR")
    assert satisfies(condition, "something new")
    assert not satisfies(condition, "CT")
    assert not satisfies(condition, "")


@pytest.mark.parametrize(
    ("predicates", "by", "rule"),
    [
        ([where("PatientName", "EQUAL", "x")], (), "unknown_field"),
        ([where("Modality", "EQUAL", "X'; DROP TABLE series; --")], (), "unknown_value"),
        ([where("Modality", "LESS", "CT")], (), "unknown_operator"),
        ([where("PatientAge", "UNSPECIFIED", "5")], (), "unknown_operator"),
        ([where("PatientAge", "EQUAL", "nan")], (), "unknown_value"),
        ([where("PatientAge", "EQUAL", "1e999")], (), "unknown_value"),
        ([where("PatientAge", "EQUAL")], (), "value_count"),
        ([where("Modality", "EQUAL", "CT", "MR")], (), "value_count"),
        ([where("PatientAge", "IN", *map(str, range(65)))], (), "value_count"),
        ([where("Modality", "EQUAL", "CT")] * 7, (), "too_many_predicates"),
        ([], ("Modality", "PatientSex", "Label"), "too_many_groups"),
        ([], ("Modality", "Modality"), "repeated_group"),
        ([], ("PatientID",), "unknown_field"),
    ],
)
def test_what_is_outside_the_vocabulary_breaks_a_named_rule(predicates, by, rule):
    assert ask(*predicates, by=by) == NotSupported(rule)


def test_a_question_without_a_unit_is_not_supported():
    assert ask(unit=COUNT_UNIT_UNSPECIFIED) == NotSupported("unknown_unit")


def test_every_cell_of_the_vocabulary_is_there_empty_or_not():
    asked = ask(by=("PatientSex", "QualityGrade"))

    assert len(asked.cells) == len(labels("PatientSex")) * len(labels("QualityGrade"))
    assert ask().cells == ((),)


def test_a_patient_by_sex_costs_what_the_budget_is_made_of():
    assert cost(ask(by=("PatientSex",)), 1, Fraction(10)) == Fraction(1, 200)
    assert cost(ask(), 1, Fraction(10)) == Fraction(1, 200)
    assert cost(ask(by=("Modality",)), 1, Fraction(10)) == 4 * Fraction(1, 200)


def test_the_order_of_groups_does_not_make_another_question():
    assert ask(by=("Modality", "Label")).digest == ask(by=("Label", "Modality")).digest


def test_a_number_below_the_first_edge_stands_for_the_first_bin():
    young = ask(where("PatientAge", "LESS", "5"))

    assert young.digest == ask(where("PatientAge", "LESS", "10")).digest
    assert ask(where("PatientAge", "GREATER", "5")).digest != young.digest


NUMBERS = [name for name, field in FIELDS.items() if field.kind is FieldKind.NUMBER]
COMPARE = {
    "LESS": lambda a, b: a < b,
    "LESS_OR_EQUAL": lambda a, b: a <= b,
    "GREATER": lambda a, b: a > b,
    "GREATER_OR_EQUAL": lambda a, b: a >= b,
    "EQUAL": lambda a, b: a == b,
}


@given(st.sampled_from(NUMBERS), st.sampled_from(list(COMPARE)), st.data())
def test_whatever_meets_a_comparison_is_counted(name, operator, data):
    edges = FIELDS[name].edges
    near = st.sampled_from(edges) | st.floats(min(edges) - 5, max(edges) + 5)
    asked, stored = data.draw(near), data.draw(near)
    if FIELDS[name].whole:
        stored = float(round(stored))
    conditions = ask(where(name, operator, repr(asked))).where

    met = all(satisfies(condition, stored) for condition in conditions)

    exact = COMPARE[operator](stored, asked)
    assert met == exact if asked in edges else met >= exact


@given(st.sampled_from(NUMBERS), st.floats(-1e4, 1e4))
def test_every_number_falls_into_one_bin(name, value):
    assert bin_of(FIELDS[name], value) in FIELDS[name].bins


def test_operators_of_the_treaty_are_all_understood_by_numbers():
    for operator in Operator.DESCRIPTOR.values_by_name:
        found = ask(where("PatientAge", operator.removeprefix("OPERATOR_"), "50"))
        assert isinstance(found, NotSupported) == (operator == "OPERATOR_UNSPECIFIED")
