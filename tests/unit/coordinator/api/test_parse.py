from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.api.parse import parse_question, parse_where
from coordinator.errors import InvalidRequest
from protos.v1.question_pb2 import CountUnit, Operator

EQUAL, IN = Operator.OPERATOR_EQUAL, Operator.OPERATOR_IN
LESS, AT_MOST = Operator.OPERATOR_LESS, Operator.OPERATOR_LESS_OR_EQUAL
MORE, AT_LEAST = Operator.OPERATOR_GREATER, Operator.OPERATOR_GREATER_OR_EQUAL


def read(text: str):
    return [(p.field, p.operator, list(p.values)) for p in parse_where(text)]


@pytest.mark.parametrize(
    ("text", "predicates"),
    [
        ("", []),
        ("Modality = 'CT'", [("Modality", EQUAL, ["CT"])]),
        ("((Modality = 'CT'))", [("Modality", EQUAL, ["CT"])]),
        ("Modality <> 'CT'", [("Modality", Operator.OPERATOR_NOT_EQUAL, ["CT"])]),
        ("Modality in ('CT', 'MR')", [("Modality", IN, ["CT", "MR"])]),
        ("PatientAge >= 50", [("PatientAge", AT_LEAST, ["50"])]),
        ("AgeBand = '50-60'", [("PatientAge", EQUAL, ["50-60"])]),
        ("AgeBand in ('<10', '>=80')", [("PatientAge", IN, ["<10", ">=80"])]),
        ("SliceThicknessBand = '1-1.5mm'", [("SliceThickness", EQUAL, ["1-1.5mm"])]),
        ("StudyYear IN (2023, '2024')", [("StudyYear", IN, ["2023", "2024"])]),
        ("PatientAge = 'UNKNOWN'", [("PatientAge", EQUAL, ["UNKNOWN"])]),
        ("BodyPartExamined = '胸部'", [("BodyPartExamined", EQUAL, ["CHEST"])]),
        ("BodyPartExamined = '腰椎'", [("BodyPartExamined", EQUAL, ["LSPINE"])]),
        (
            "BodyPartExamined != 'Lung'",
            [("BodyPartExamined", Operator.OPERATOR_NOT_EQUAL, ["CHEST"])],
        ),
        ("BodyPartExamined in ('头颅', 'knee')", [("BodyPartExamined", IN, ["HEAD", "KNEE"])]),
        ("Manufacturer = '西门子'", [("Manufacturer", EQUAL, ["SIEMENS"])]),
        ("Manufacturer = 'OTHER'", [("Manufacturer", EQUAL, ["OTHER"])]),
        ("50 <= PatientAge", [("PatientAge", AT_LEAST, ["50"])]),
        ("50 > PatientAge", [("PatientAge", LESS, ["50"])]),
        ("SliceThickness <= 1.0", [("SliceThickness", AT_MOST, ["1"])]),
        ("SliceThickness < 1.50", [("SliceThickness", LESS, ["1.5"])]),
        (
            "PatientAge between 40 and 60",
            [("PatientAge", AT_LEAST, ["40"]), ("PatientAge", AT_MOST, ["60"])],
        ),
        (
            "Modality = 'CT' and BodyPartExamined = 'CHEST' and PatientAge > 50",
            [
                ("Modality", EQUAL, ["CT"]),
                ("BodyPartExamined", EQUAL, ["CHEST"]),
                ("PatientAge", MORE, ["50"]),
            ],
        ),
    ],
)
def test_a_filter_is_read_as_it_is_meant(text, predicates):
    assert read(text) == predicates


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Modalty = 'CT'", "`Modalty` (character 1) is not a field: did you mean `Modality`?"),
        ("Modality = 'CTT'", "(character 12) is not a Modality: did you mean `CT`?"),
        ("Modality = 'CT' and PatientSexx = 'F'", "(character 21)"),
        ("Modality = 'CT' or Modality = 'MR'", "Field IN"),
        ("Modality = CT", "single quotes"),
        ("PatientAge >= 'old'", "compared with a number"),
        ("Modality < 'CT'", "= != IN"),
        ("PatientAge != 50", "= < <= > >="),
        ("Modality =", "cannot be read"),
        ("Modality = 'CT'; DROP TABLE site", "one expression"),
        ("Modality = (SELECT 1)", "compared with a value"),
        ("Modality IN (SELECT 1)", "not a condition"),
        ("NOT Modality = 'CT'", "not a condition"),
        ("Modality LIKE 'C%'", "not a condition"),
        ("1 = 1", "a field's name"),
        ("site.Modality = 'CT'", "a field's name"),
        ("PatientAge = 1e99", "compared with a number"),
        ("Modality = 'C\0T'", "`C?T`"),
        (" and ".join(["Modality = 'CT'"] * 7), "at most 6"),
        (" and ".join(["Modality = 'CT'"] * 7), "(character 121)"),
        ("PatientAge between 60 and 50", "exchange the two numbers"),
        ("PatientAge > 60 and Modality = 'CT' and 50 > PatientAge", "exchange the two numbers"),
        ("PatientAge >= 1000", "between 0 and 90: 1000 (character 15) is beyond"),
        ("SliceThickness < -1", "is beyond"),
        ("StudyYear = 1066", "between 2000 and 2041"),
        ("AgeBand = '50-65'", "band's name: <10, 10-20"),
        ("AgeBnd = '50-60'", "did you mean `AgeBand`?"),
        ("BodyPartExamined = '胸'' OR 1=1 --'", "is not a BodyPartExamined"),
        ("BodyPartExamined = 'CHESST'", "did you mean `CHEST`?"),
        ("upper(Modality) = 'CT'", "a field's name"),
        ("Modality = upper('CT')", "compared with a value"),
        ("Modality NOT IN ('CT')", "write !="),
        ("Modality = 'CT' UNION SELECT 1", "not a condition"),
        ("Modality = 'CT' -- and more\nor 1 = 1", "OR is not asked"),
        ("(" * 2000 + "Modality = 'CT'" + ")" * 1900, "nested"),
        ("x" * 5000, "at most 4000"),
    ],
)
def test_what_is_not_of_the_closed_language_is_refused_with_its_place(text, words):
    with pytest.raises(InvalidRequest) as refused:
        parse_where(text)

    assert words in str(refused.value)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_and_nothing_else(text):
    with suppress(InvalidRequest):
        parse_where(text)


def test_a_question_has_its_unit_and_its_groups():
    question = parse_question("", ["Modality,PatientSex"], "studies")

    assert question.unit == CountUnit.COUNT_UNIT_STUDIES
    assert list(question.group_by) == ["Modality", "PatientSex"]


@pytest.mark.parametrize(
    ("by", "unit", "words"),
    [(["Modalty"], "patients", "`Modality`"), ([], "patient", "did you mean `patients`?")],
)
def test_a_wrong_group_or_unit_is_answered_with_the_nearest(by, unit, words):
    with pytest.raises(InvalidRequest) as refused:
        parse_question("", by, unit)

    assert words in str(refused.value)
