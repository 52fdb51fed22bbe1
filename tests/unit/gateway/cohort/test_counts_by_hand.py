from collections import defaultdict
from random import Random

import pytest

from gateway.cohort.count import count, public_word, select
from gateway.cohort.rules import bin_of, canonical, satisfies
from protos.v1.question_pb2 import CountUnit, Predicate, Question
from protos.vocabulary import FIELDS
from tests.fakes.hospital import Hospital, facts

MIB = 1 << 20
ATTRIBUTE = {
    "Modality": "modality",
    "BodyPartExamined": "body_part",
    "Manufacturer": "manufacturer",
    "SliceThickness": "slice_thickness_mm",
    "StudyYear": "study_year",
    "PatientAge": "age_years",
}
QUESTIONS = [
    ([], []),
    ([("Modality", "EQUAL", "CT")], ["SliceThickness"]),
    ([("SliceThickness", "LESS_OR_EQUAL", "1.0")], ["Modality", "StudyYear"]),
    ([("PatientAge", "GREATER", "53"), ("Modality", "NOT_EQUAL", "MR")], ["PatientAge"]),
    ([("Manufacturer", "IN", "GE", "OTHER")], ["Manufacturer", "BodyPartExamined"]),
    ([("SliceThickness", "EQUAL", "UNKNOWN")], []),
]


def an_archive(seed):
    draw = Random(seed)
    studies = {}
    for number in range(120):
        study = f"2.25.{number // 3}1"
        studies.setdefault(
            study,
            {
                "patient": f"p{draw.randrange(25)}",
                "age_years": draw.choice([None, 0, 10, 53, 60, 89]),
                "study_year": draw.choice([None, 1999, 2010, 2024]),
            },
        )
        yield facts(
            number,
            study_uid=study,
            modality=draw.choice(["CT", "MR", "XX", ""]),
            body_part=draw.choice(["CHEST", "KNEE", ""]),
            manufacturer=draw.choice(["GE MEDICAL SYSTEMS", "Siemens", "Acme", ""]),
            size_bytes=draw.randrange(1 << 22),
            slice_thickness_mm=draw.choice([None, 0.5, 1.0, 1.25, 5.0, draw.random() * 12]),
            **studies[study],
        )


def word_of(fact, name):
    stored = getattr(fact, ATTRIBUTE[name])
    return public_word(FIELDS[name], "" if stored is None else str(stored))


def by_hand(asked, archive, clip):
    seen = defaultdict(set)
    for fact in archive:
        if all(satisfies(c, word_of(fact, c.field)) for c in asked.where):
            cell = tuple(bin_of(FIELDS[name], word_of(fact, name)) for name in asked.group_by)
            one = {"patients": fact.patient, "studies": fact.study_uid}.get(
                asked.unit, fact.sop_uid
            )
            weight = fact.size_bytes if asked.unit == "bytes" else 1
            seen[fact.patient, cell].add((one, weight))
    held = defaultdict(list)
    for (patient, cell), ones in seen.items():
        amount = sum(weight for _, weight in ones)
        amount = (amount + MIB // 2) // MIB if asked.unit == "bytes" else amount
        held[patient].append((-min(amount, clip), cell))
    total = defaultdict(int)
    for cells in held.values():
        for times, cell in sorted(cells)[: asked.bins_per_patient]:
            total[cell] -= times
    return dict(total)


@pytest.mark.parametrize("unit", ["PATIENTS", "STUDIES", "SERIES", "INSTANCES", "BYTES"])
@pytest.mark.parametrize("place", range(len(QUESTIONS)))
def test_the_database_counts_as_one_would_by_hand(tmp_path, unit, place):
    where, by = QUESTIONS[place]
    archive = list(an_archive(place))
    hospital = Hospital(tmp_path)
    hospital.index.add(archive)
    asked = canonical(
        Question(
            unit=CountUnit.Value(f"COUNT_UNIT_{unit}"),
            where=[Predicate(field=f, operator=f"OPERATOR_{o}", values=v) for f, o, *v in where],
            group_by=by,
        )
    )

    clip = {"PATIENTS": 1, "BYTES": 5}.get(unit, 2)

    found = {cell: n for cell, n in count(asked, hospital.tally, clip).items() if n}

    assert found == {cell: n for cell, n in by_hand(asked, archive, clip).items() if n}


def test_a_cohort_never_mixes_profiles(tmp_path):
    hospital = Hospital(tmp_path)
    hospital.admit(10)
    hospital.index.add([facts(n, profile_digest="22" * 32) for n in range(10, 30)])

    chosen = select([], hospital.tally)

    assert {series.profile_digest for series in chosen} == {"22" * 32}
    assert len(chosen) == 20


def test_one_patient_more_moves_a_jobs_patients_by_one(tmp_path):
    """Its noise is for one: whom a job counts may not turn on who is here unlabelled."""
    hospital = Hospital(tmp_path)
    hospital.index.add([facts(n, profile_digest="22" * 32) for n in range(50)])
    labelled = {f"2.25.{n}2" for n in range(50)}

    found = []
    for newcomers in (range(100, 150), range(150, 151)):
        hospital.index.add([facts(n, profile_digest="33" * 32) for n in newcomers])
        chosen = select([], hospital.tally, lambda series: series.series_uid in labelled)
        found.append(len({each.patient for each in chosen if each.series_uid in labelled}))

    assert found == [50, 50]
