"""True counts of a canonical question: they exist here and meet the noise before they leave."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from gateway.cohort.rules import Canonical, Condition, atom_of, bin_of, satisfies
from gateway.store.tally import ABSENT, HIGHEST, LOWEST, Allowed, Grouped, Selected, Tally
from protos import anatomy
from protos.vocabulary import FIELDS, UNKNOWN, Field, FieldKind

# How stores spell what the vocabulary calls by one word.
SYNONYMS: Mapping[str, Mapping[str, str]] = {
    "Label": {"1": "POSITIVE", "0": "NEGATIVE", "TRUE": "POSITIVE", "FALSE": "NEGATIVE"},
}


def count(question: Canonical, tally: Tally, contribution: int) -> dict[tuple[str, ...], int]:
    """Return one number for every cell of the public vocabulary, most of them 0."""
    found = tally.count(
        question.unit,
        [_allowed(condition, tally) for condition in question.where],
        [_grouped(name, tally) for name in question.group_by],
        contribution,
        question.bins_per_patient,
    )
    return {cell: found.get(cell, 0) for cell in question.cells}


def select(
    where: Sequence[Condition],
    tally: Tally,
    counts: Callable[[Selected], bool] = lambda _series: True,
) -> list[Selected]:
    """Return the series of a job's cohort, all de-identified under one profile: the commonest.

    Commonest by the patients of the series that count. Chosen by all of them, one patient more
    could turn to a profile of which nobody counts: a number with noise for one would move by many.
    """
    found = tally.select([_allowed(condition, tally) for condition in where])
    patients: dict[str, set[str]] = {}
    for series in list(filter(counts, found)) or found:
        patients.setdefault(series.profile_digest, set()).add(series.patient)
    if not patients:
        return []
    commonest = max(sorted(patients), key=lambda digest: len(patients[digest]))
    return [series for series in found if series.profile_digest == commonest]


def truths(label: str, tally: Tally) -> dict[str, int]:
    """Return a reference standard by series or study: 1 positive, 0 negative, others left out."""
    field = FIELDS["Label"]
    words = {uid: public_word(field, word) for uid, word in tally.labels(label).items()}
    return {uid: int(word == "POSITIVE") for uid, word in words.items() if word in field.bins}


def atoms_of(words: Sequence[str]) -> tuple[str, ...]:
    """Return a patient's atoms from the stored spellings, both in the order of FIELDS."""
    return tuple(
        atom_of(field, public_word(field, word))
        for field, word in zip(FIELDS.values(), words, strict=True)
    )


def public_word(field: Field, stored: str) -> float | str | None:
    """Return a stored spelling in the vocabulary's terms."""
    if stored == "":
        return None
    if field.kind is FieldKind.NUMBER:
        return float(stored)
    if field.name == "Manufacturer":  # who signs in many ways: `GE MEDICAL SYSTEMS`
        return anatomy.manufacturer(stored)
    if field.name == "BodyPartExamined":
        return anatomy.body_part(stored, ())
    word = stored.strip().upper()
    return SYNONYMS.get(field.name, {}).get(word, word)


def _allowed(condition: Condition, tally: Tally) -> Allowed:
    field = FIELDS[condition.field]
    words = tally.spellings(condition.field)
    return Allowed(
        condition.field,
        [word for word in words if satisfies(condition, public_word(field, word))],
    )


def _grouped(name: str, tally: Tally) -> Grouped:
    field = FIELDS[name]
    if field.kind is FieldKind.NUMBER:
        edges = (LOWEST, *field.edges, HIGHEST)
        spans = zip(pairwise(edges), field.bins, strict=True)
        known = [(low, high, label) for (low, high), label in spans]
        return Grouped(name, [(ABSENT, LOWEST, UNKNOWN), *known])
    words = tally.spellings(name)
    return Grouped(name, [(w, w, bin_of(field, public_word(field, w))) for w in words])
