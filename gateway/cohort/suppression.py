"""Which cells of an exact table stay hidden: small ones, and those that would betray them.

A patient is in one cell of each table, so every table ever given of a snapshot is a set of sums
over one grid of unknown numbers. A linear programme finds how far each hidden cell could lie from
what it is, given all the cells that are shown; where that is less than `WIDTH`, more is hidden.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from gateway.cohort.rules import Canonical, all_atoms, label_of
from protos.vocabulary import EXACT_CELL_AT_LEAST, FIELDS

WIDTH = 10.0
SLACK = 1e-6  # of the solver
VARIABLES_AT_MOST = 5_000  # beyond, an audit would hold up every other question for minutes
HIDDEN_AT_MOST = 300

Cell = tuple[str, ...]
Vector = npt.NDArray[np.float64]
Matrix = Any  # scipy's sparse matrices have no types


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
        if self._size > VARIABLES_AT_MOST:
            return True
        return len(self._hidden()) > HIDDEN_AT_MOST

    def _hidden(self) -> list[tuple[Table, Cell, Vector]]:
        """Return the hidden cells somebody could be in, with which places of the grid they sum."""
        return [
            (table, cell, row)
            for table in self._tables
            for cell in sorted(table.hidden)
            if (row := self._row(table.asked, cell)).any()
        ]

    def betrayed(self) -> Cell | None:
        """Return a hidden cell that the shown ones pin down too closely, or None.

        Every grid that agrees with what is shown bears witness for all hidden cells at once: a few
        that raise many cells together leave few to be looked at alone.
        """
        from scipy.sparse import csr_matrix  # scipy waits until somebody asks for an exact table

        hidden = self._hidden()
        if not hidden:
            return None
        sums = csr_matrix(np.array([row for _, _, row in hidden]))
        truth = np.array([table.counts[cell] for table, cell, _ in hidden], float)
        reach = Reach(sums, truth)
        shown = self._shown(float(truth.sum()))
        left = len(hidden) + 1
        while 0 < (pending := reach.pending()).size < left:
            left = pending.size
            for grid in _raising(shown, sums, reach, pending):
                reach.extend(grid)
        for place in reach.pending():
            for sign in (-1.0, 1.0):  # a cell may rarely sink by ten, and often rise
                if not reach.is_wide(place):
                    for grid in _least(shown, sign * sums[[place]].toarray()[0]):
                        reach.extend(grid)
            if not reach.is_wide(place):
                cell: Cell = hidden[place][1]
                return cell
        return None

    def _shown(self, hidden: float) -> "Shown":
        from scipy.sparse import csr_matrix

        shown = [(t, cell) for t in self._tables for cell in t.shown]
        known = np.array([table.counts[cell] for table, cell in shown], float)
        rows = [self._row(table.asked, cell) for table, cell in shown]
        matrix = csr_matrix(np.array(rows) if rows else np.zeros((0, self._size)))
        # What no shown cell bounds may be anything: enough that it shows as wide.
        return Shown(matrix, known, float(known.sum()) + hidden + 10 * WIDTH)

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


class Reach:
    """How low and how high each hidden cell was seen in grids that agree with what is shown."""

    def __init__(self, sums: Matrix, truth: Vector) -> None:
        self._sums = sums
        self.low, self.high = truth.copy(), truth.copy()

    def extend(self, grid: Vector) -> None:
        seen = self._sums @ grid
        self.low, self.high = np.minimum(self.low, seen), np.maximum(self.high, seen)

    def is_wide(self, place: int) -> bool:
        return bool(self.high[place] - self.low[place] >= WIDTH - SLACK)

    def pending(self) -> npt.NDArray[np.intp]:
        return np.flatnonzero(self.high - self.low < WIDTH - SLACK)


@dataclass(frozen=True, slots=True)
class Shown:
    """The equations that an attacker has: sums of the grid, what they are, and a bound for all."""

    matrix: Matrix
    known: Vector
    most: float


def _least(shown: Shown, weights: Vector) -> list[Vector]:
    """Return the grid that is least by a weight."""
    from scipy.optimize import linprog

    found = linprog(
        weights, A_eq=shown.matrix, b_eq=shown.known, bounds=(0, shown.most), method="highs"
    )
    return [found.x] if found.status == 0 else []


def _raising(
    shown: Shown, sums: Matrix, reach: Reach, pending: npt.NDArray[np.intp]
) -> list[Vector]:
    """Return a grid in which as many pending cells as can be lie a width above their least."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_matrix, hstack, identity

    size, many = shown.matrix.shape[1], len(pending)
    found = linprog(
        np.concatenate([np.zeros(size), -np.ones(many)]),
        A_ub=hstack([-sums[pending], identity(many)]),  # a gain is no more than the cell rose by
        b_ub=-reach.low[pending],
        A_eq=hstack([shown.matrix, csr_matrix((shown.matrix.shape[0], many))]),
        b_eq=shown.known,
        bounds=[(0, shown.most)] * size + [(0, WIDTH)] * many,
        method="highs",
    )
    return [found.x[:size]] if found.status == 0 else []


def _classes(name: str, tables: Sequence[Table]) -> list[str]:
    """Return one atom for each set of a field's atoms that no table tells apart."""
    told: dict[tuple[str, ...], str] = {}
    for atom in sorted(all_atoms(FIELDS[name])):
        marks = tuple(_mark(table.asked, name, atom) for table in tables)
        told.setdefault(marks, atom)
    return list(told.values())


def _mark(asked: Canonical, name: str, atom: str) -> str:
    """Return all that a table says of an atom: whether it counts, and under which label."""
    if any(atom not in c.atoms for c in asked.where if c.field == name):
        return "out"
    return f"in {label_of(name, atom)}" if name in asked.group_by else "in"


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
