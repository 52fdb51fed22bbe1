"""Exact tables under attack: linear programmes over every atom, written apart from the gateway's.

`RADFED_TABLES=1000 make attack` looks at a thousand tables; by itself it looks at thirty.
"""

import os
from itertools import product
from random import Random

import numpy as np
import pytest
from scipy.optimize import linprog

from gateway.cohort.rules import Canonical, Condition, Unit, label_of, labels
from gateway.cohort.suppression import Table, Unsafe, cells_of, protect
from protos.vocabulary import FIELDS

pytestmark = pytest.mark.attack

TABLES = int(os.environ.get("RADFED_TABLES", "30"))
SNAPSHOT_OF = 6  # tables of one snapshot
SEXES = ("F", "M", "O")
GRADES = ("A", "B", "C", "D")
LABELS = ("POSITIVE", "NEGATIVE", "UNKNOWN")
ALL = {"PatientSex": SEXES, "QualityGrade": GRADES, "Label": LABELS}


def a_population(draw: Random) -> dict:
    """Return patients over three fields' atoms; many combinations are rare, and some empty."""
    people = {}
    for sex, grade, label in product(SEXES, GRADES, LABELS):
        number = draw.choice([0, 1, 2, 3, 5, 8, 9, 10, 11, 14, 30, 70, 200])
        own = {"PatientSex": sex, "QualityGrade": grade, "Label": label}
        people[tuple(own.get(name, "UNKNOWN") for name in FIELDS)] = number
    return people


def a_question(draw: Random) -> Canonical:
    names = sorted(ALL)
    by = tuple(sorted(draw.sample(names, draw.choice([0, 1, 1, 2]))))
    where = [
        Condition(name, frozenset(draw.sample(ALL[name], draw.randint(1, len(ALL[name]) - 1))))
        for name in names
        if draw.random() < 0.3
    ]
    return Canonical(Unit.PATIENTS, tuple(where), by)


def row(asked: Canonical, cell: tuple) -> np.ndarray:
    """Return which of the full grid's places a cell sums, atom by atom."""
    places = list(product(*(labels(name) for name in sorted(ALL))))
    told = dict(zip(asked.group_by, cell, strict=True))
    found = []
    for place in places:
        atoms = dict(zip(sorted(ALL), place, strict=True))
        inside = all(atoms[c.field] in c.atoms for c in asked.where)
        found.append(
            inside and all(label_of(name, atoms[name]) == word for name, word in told.items())
        )
    return np.array(found, float)


def narrowest(tables: list[Table]) -> float:
    """Return the width of the closest interval an attacker finds around a hidden cell."""
    shown = [(t, cell) for t in tables for cell in t.shown]
    known = [t.counts[cell] for t, cell in shown]
    matrix = np.array([row(t.asked, cell) for t, cell in shown]) if shown else None
    widths = [float("inf")]
    for table in tables:
        for cell in table.hidden:
            aim = row(table.asked, cell)
            if not aim.any():
                continue  # nobody can be there, by the question itself
            low, high = (
                linprog(sign * aim, A_eq=matrix, b_eq=known or None, bounds=(0, None))
                for sign in (1, -1)
            )
            widths.append(float("inf") if high.status == 3 else -high.fun - low.fun)
    return min(widths)


def test_every_hidden_cell_of_every_snapshot_could_be_ten_others():
    given = refused = hidden = 0
    for seed in range(-(-TABLES // SNAPSHOT_OF)):
        draw = Random(seed)
        people, tables = a_population(draw), []
        for _ in range(SNAPSHOT_OF):
            asked = a_question(draw)
            if any(t.asked == asked for t in tables):
                continue
            found = protect(Table(asked, cells_of(asked, people)), tables)
            if isinstance(found, Unsafe):
                refused += 1
                continue
            tables.append(found)
        assert narrowest(tables) >= 10 - 1e-6, f"seed {seed}"
        given += len(tables)
        hidden += sum(len(t.hidden) for t in tables)

    print(f"{given} tables given, {refused} refused, {hidden} cells hidden")
    assert given > refused
    assert hidden > given


def test_the_threshold_alone_betrays_a_cell_by_its_margin():
    """The control: without complementary suppression the programme finds the small cell."""
    people = {}
    for sex, number in zip(SEXES, (100, 60, 3), strict=True):
        people[tuple(sex if name == "PatientSex" else "UNKNOWN" for name in FIELDS)] = number
    total, by_sex = Canonical(Unit.PATIENTS, (), ()), Canonical(Unit.PATIENTS, (), ("PatientSex",))

    def plain(asked):
        counts = cells_of(asked, people)
        return Table(asked, counts, frozenset(c for c, n in counts.items() if n < 10))

    assert narrowest([plain(total), plain(by_sex)]) < 10

    first = protect(plain(total), [])
    second = protect(Table(by_sex, cells_of(by_sex, people)), [first])
    assert ("O",) in second.hidden
    assert ("M",) in second.hidden
    assert narrowest([first, second]) >= 10
