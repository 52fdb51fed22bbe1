"""Which cells of an exact table stay hidden: small ones, and those that would betray them.

A patient is in one cell of each table, so every table ever given of a snapshot is a set of sums
over one grid of unknown numbers. A linear programme finds how far each hidden cell could lie from
what it is, given all the cells that are shown; where that is less than `WIDTH`, more is hidden.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.cohort.rules import Canonical, all_atoms, label_of
from protos.vocabulary import EXACT_CELL_AT_LEAST, FIELDS

WIDTH = 10.0
SLACK = 1e-6  # of the solver
VARIABLES_AT_MOST = 20_000
HIDDEN_AT_MOST = 2_000

Cell = tuple[str, ...]
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Table:
    """One exact table: what was asked, every cell's true count, and which are hidden."""

    asked: Canonical
    counts: Mapping[Cell, int]
    hidden: frozenset[Cell] = frozenset()

    @property
    def shown(self) -> list[Cell]:
        return [cell for cell in self.counts if cell not in self.hidden]

    def hiding(self, cells: Iterable[Cell]) -> "Table":
        return Table(self.asked, self.counts, self.hidden | frozenset(cells))


@dataclass(frozen=True, slots=True)
class Unsafe:
    """The table cannot be given; `rule` is the closed word that says why."""

    rule: str


def protect(new: Table, earlier: Sequence[Table]) -> Table | Unsafe:
    """Hide what must be hidden of a new table; what earlier ones showed stays shown."""
    table = new.hiding(cell for cell, n in new.counts.items() if n < EXACT_CELL_AT_LEAST)
    while True:
        grid = Grid([*earlier, table])
        if grid.is_too_large:
            return Unsafe("audit_too_large")
        betrayed = grid.betrayed()
        if betrayed is None:
            return table
        if not table.shown:
            return Unsafe("exact_audit")
        table = table.hiding([_cheapest(table, betrayed)])


def _cheapest(table: Table, betrayed: Cell) -> Cell:
    """Choose the smallest shown cell, one in the betrayed cell's row or column before others."""

    def rank(cell: Cell) -> tuple[bool, int, Cell]:
        apart = not any(a == b for a, b in zip(cell, betrayed, strict=False))
        return apart, table.counts[cell], cell

    return min(table.shown, key=rank)


class Grid:
    """All tables of a snapshot over one grid, as coarse as they let it be."""

    def __init__(self, tables: Sequence[Table]) -> None:
        self._tables = tables
        self._names = sorted({name for table in tables for name in table.asked.fields})
        self._classes = {name: _classes(name, tables) for name in self._names}
        self._size = prod(len(classes) for classes in self._classes.values())

    @property
    def is_too_large(self) -> bool:
        hidden = sum(len(table.hidden) for table in self._tables)
        return self._size > VARIABLES_AT_MOST or hidden > HIDDEN_AT_MOST

    def betrayed(self) -> Cell | None:
        """Return a hidden cell that the shown ones pin down too closely, or None.

        Each feasible solution that one programme finds bears witness for every other hidden cell.
        """
        hidden = [(t, cell) for t in self._tables for cell in sorted(t.hidden)]
        rows = [self._row(table.asked, cell) for table, cell in hidden]
        kept = [place for place, row in enumerate(rows) if row.any()]  # none: nobody can be in it
        if not kept:
            return None
        sums = np.array([rows[place] for place in kept])
        truth = np.array([hidden[p][0].counts[hidden[p][1]] for p in kept], float)
        low, high = truth.copy(), truth.copy()
        solver = self._solver(float(truth.sum()))
        for at, place in enumerate(kept):
            for sign in (-1.0, 1.0):  # a cell may rarely sink by ten, and often rise
                if high[at] - low[at] >= WIDTH:
                    break
                for witness in solver(sign * sums[at]):
                    low = np.minimum(low, sums @ witness)
                    high = np.maximum(high, sums @ witness)
            if high[at] - low[at] < WIDTH - SLACK:
                return hidden[place][1]
        return None

    def _solver(self, hidden: float) -> Any:  # noqa: ANN401 - a closure over scipy's matrices
        """Return what finds a grid that agrees with all that is shown and is least by a weight."""
        from scipy.optimize import linprog
        from scipy.sparse import csr_matrix

        shown = [(t, cell) for t in self._tables for cell in t.shown]
        known = np.array([table.counts[cell] for table, cell in shown], float)
        matrix = csr_matrix(
            np.array([self._row(table.asked, cell) for table, cell in shown])
            if shown
            else np.zeros((0, self._size))
        )
        # What no shown cell bounds may be anything: enough that it shows as wide.
        most = float(known.sum()) + hidden + 10 * WIDTH

        def solve(weights: Vector) -> Iterator[Vector]:
            found = linprog(weights, A_eq=matrix, b_eq=known, bounds=(0, most), method="highs")
            if found.status == 0:
                yield found.x

        return solve

    def _row(self, asked: Canonical, cell: Cell) -> Vector:
        """Return which places of the grid a cell sums."""
        allowed = {condition.field: condition.atoms for condition in asked.where}
        labels = dict(zip(asked.group_by, cell, strict=True))
        parts = []
        for name in self._names:
            inside = [
                one in allowed.get(name, {one})
                and labels.get(name, label_of(name, one)) == label_of(name, one)
                for one in self._classes[name]
            ]
            parts.append(np.array(inside, float))
        row: Vector = np.ones(1)
        for part in parts:
            row = np.kron(row, part)
        return row


def _classes(name: str, tables: Sequence[Table]) -> list[str]:
    """Return one atom for each set of a field's atoms that no table tells apart."""
    told: dict[tuple[bool | str, ...], str] = {}
    for atom in sorted(all_atoms(FIELDS[name])):
        marks: list[bool | str] = []
        for table in tables:
            marks += [atom in c.atoms for c in table.asked.where if c.field == name]
            marks += [label_of(name, atom) for group in table.asked.group_by if group == name]
        told.setdefault(tuple(marks), atom)
    return list(told.values())


def cells_of(asked: Canonical, people: Mapping[tuple[str, ...], int]) -> dict[Cell, int]:
    """Count an exact table over a snapshot: patients by their atoms, in the order of FIELDS."""
    places = {name: place for place, name in enumerate(FIELDS)}
    counts = dict.fromkeys(asked.cells, 0)
    for atoms, patients in people.items():
        if all(atoms[places[c.field]] in c.atoms for c in asked.where):
            counts[tuple(label_of(name, atoms[places[name]]) for name in asked.group_by)] += (
                patients
            )
    return counts
