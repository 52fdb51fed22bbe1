"""The index by columns: what a count over millions of series reads, a small number for each word.

The rows are series, all of one patient side by side. SQL over the same rows takes seconds where
this takes milliseconds; a small index is read by SQL and has no columns.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from gateway.durable import replace_durably
from gateway.store.index import VISIBLE
from gateway.store.tally import ABSENT, NUMBER, WEIGHT, Allowed, Cells, Grouped
from gateway.store.verdicts import WORDS_IN_ORDER

Codes = NDArray[np.unsignedinteger[Any]]
Numbers = NDArray[np.integer[Any]]

PAGE = 50_000
ARRAYS = ("patient", "study", "instances", "size_bytes")
FIELDS = (
    "PatientSex", "PatientAge", "StudyYear", "Modality", "BodyPartExamined", "Manufacturer",
    "SliceThickness", "QualityGrade",
)  # fmt: skip
# Patient by patient, in whatever order: CROSS JOIN keeps SQLite to it.
ROWS = f"""
    SELECT patient.pseudonym, study.filed, study.study_uid, series.series_uid,
           patient.sex,
           coalesce(CAST(study.age_years AS TEXT), ''),
           coalesce(CAST(study.study_year AS TEXT), ''),
           series.modality, series.body_part, series.manufacturer,
           coalesce(CAST(series.slice_thickness_mm AS TEXT), ''),
           coalesce(series.grade, ''),
           coalesce(series.instances, (SELECT count(*) FROM instance
                WHERE instance.series_uid = series.series_uid AND instance.hidden = 0)),
           coalesce(series.size_bytes, (SELECT coalesce(sum(instance.size_bytes), 0) FROM instance
                WHERE instance.series_uid = series.series_uid AND instance.hidden = 0))
    FROM patient
    CROSS JOIN study ON study.patient = patient.pseudonym
    CROSS JOIN series ON series.study_uid = study.study_uid
    WHERE {VISIBLE}
"""  # noqa: S608 - a constant
NOBODY_SAID = "00"  # an empty word, behind its place


class _Words:
    """Numbers the spellings of one field as they turn up."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def __call__(self, word: str) -> int:
        return self._codes.setdefault(word, len(self._codes))

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(self._codes)


@dataclass(frozen=True, slots=True)
class Columns:
    """One snapshot; nothing in it names anybody."""

    words: Mapping[str, tuple[str, ...]]  # of each field, by code
    codes: Mapping[str, Codes]
    patient: Codes  # ascending numbers
    study: Codes  # ascending numbers
    instances: Codes
    size_bytes: Codes

    @property
    def series(self) -> int:
        return len(self.patient)

    def save(self, path: Path, decided: str) -> None:
        """Keep the columns for the next start, and what had been decided when they were read."""
        arrays: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in ARRAYS}
        arrays |= {f"codes {field}": codes for field, codes in self.codes.items()}
        facts = json.dumps({"decided": decided, "words": self.words})
        content = BytesIO()
        np.savez(content, facts=np.frombuffer(facts.encode(), np.uint8), **arrays)  # type: ignore[arg-type]  # its stub takes `allow_pickle` for one of them
        replace_durably(path, content.getvalue())

    @classmethod
    def load(cls, path: Path) -> "tuple[Columns, str] | None":
        """Return what was kept; None where nothing usable is."""
        try:
            with np.load(path, allow_pickle=False) as kept:
                facts = json.loads(kept["facts"].tobytes())
                words = {field: tuple(found) for field, found in facts["words"].items()}
                codes = {field: kept[f"codes {field}"] for field in (*FIELDS, "Label")}
                return cls(words, codes, *(kept[name] for name in ARRAYS)), facts["decided"]
        except (OSError, ValueError, KeyError, TypeError, BadZipFile):
            return None

    def spellings(self, field: str) -> list[str]:
        """Return how the images of countable patients spell a field."""
        return list(self.words[field])

    def count(
        self, unit: str, where: Sequence[Allowed], by: Sequence[Grouped], clip: int, bins: int
    ) -> Cells:
        """Return the cells that hold somebody; every patient's share in them is bounded."""
        rows, cell, labels = self._placed(self._chosen(where), by)
        keys, times = self._times(unit, rows, cell, len(labels))
        times = np.minimum(times, clip)
        kept = _first(keys, times, len(labels), bins)
        totals = np.bincount(keys[kept] % len(labels), times[kept], len(labels))
        return {labels[at]: int(totals[at]) for at in np.flatnonzero(totals)}

    def _chosen(self, where: Sequence[Allowed]) -> NDArray[np.intp]:
        """Return the rows that meet every condition."""
        mask = np.ones(self.series, bool)
        for allowed in where:
            words = set(allowed.words)
            meets = np.array([word in words for word in self.words[allowed.field]], bool)
            mask &= meets[self.codes[allowed.field]] if len(meets) else False
        return np.flatnonzero(mask)

    def _placed(
        self, rows: NDArray[np.intp], by: Sequence[Grouped]
    ) -> tuple[NDArray[np.intp], Numbers, list[tuple[str, ...]]]:
        """Return the rows that lie in a bin, the cell of each, and what the cells are called.

        Cells are in the order of their names: it is the second measure of which a patient keeps.
        """
        cell = np.zeros(len(rows), np.int64)
        labels: list[tuple[str, ...]] = [()]
        for grouped in by:
            names = sorted({label for _low, _high, label in grouped.bins})
            codes = self._bins(grouped, names)[self.codes[grouped.field][rows]]
            inside = codes >= 0
            rows, cell, codes = rows[inside], cell[inside], codes[inside]
            cell = cell * len(names) + codes
            labels = [(*label, name) for label in labels for name in names]
        return rows, cell, labels

    def _bins(self, grouped: Grouped, names: Sequence[str]) -> Numbers:
        """Return the bin of each word of a field; -1 outside all."""
        place = {name: at for at, name in enumerate(names)}
        if grouped.field not in NUMBER:
            of = {str(low): place[label] for low, _high, label in grouped.bins}
            found = [of.get(word, -1) for word in self.words[grouped.field]]
        else:
            found = [
                next(
                    (place[name] for low, high, name in grouped.bins if low <= value < high),  # type: ignore[operator]  # numbers, as the field is one
                    -1,
                )
                for value in map(_value, self.words[grouped.field])
            ]
        return np.array(found or [-1], np.int64)

    def _times(
        self, unit: str, rows: NDArray[np.intp], cell: Numbers, cells: int
    ) -> tuple[Numbers, Numbers]:
        """Return each patient's cells, as patient * cells + cell, and how often each is met."""
        key = _keys(self.patient[rows], cell, cells)
        if unit == "patients":
            keys = _runs(np.sort(key[_changes(key)]))[0]  # most of a patient's lie side by side
            return keys, np.ones(len(keys), np.int64)
        if unit == "studies":
            pairs = _runs(np.sort(_keys(self.study[rows], cell, cells)))[0]
            whose = self._patient_of_study[pairs // cells]
            return _runs(np.sort(_keys(whose, pairs % cells, cells)))
        if unit == "series":
            return _runs(np.sort(key))
        _what, one = WEIGHT.get(unit, ("", 1))
        weights = (self.size_bytes if unit in WEIGHT else self.instances)[rows]
        order = np.argsort(key, kind="stable")
        keys, lengths = _runs(key[order])
        if not len(keys):
            return keys, lengths
        starts = np.cumsum(lengths) - lengths
        sums = np.add.reduceat(weights[order].astype(np.int64), starts)
        sums = (sums + one // 2) // one
        return keys[sums > 0], sums[sums > 0]

    @property
    def _patient_of_study(self) -> Codes:
        return self.patient[_changes(self.study)]


def _keys(numbers: Codes, cell: NDArray[Any], cells: int) -> Numbers:
    """Return number * cells + cell, in half the memory where that is enough: it is sorted."""
    few = (int(numbers.max(initial=0)) + 1) * cells < 1 << 32
    found: Numbers = numbers.astype(np.uint32 if few else np.int64)
    found *= cells
    found += cell.astype(found.dtype)
    return found


def _changes(values: NDArray[Any]) -> NDArray[np.intp]:
    """Return where a value is not the one before it."""
    differs = np.empty(len(values), bool)
    differs[:1] = True
    np.not_equal(values[1:], values[:-1], out=differs[1:])
    return np.flatnonzero(differs)


def _runs(ordered: Numbers) -> tuple[Numbers, Numbers]:
    """Return what an ordered array holds, and how often."""
    starts = _changes(ordered)
    return ordered[starts], np.diff(starts, append=len(ordered))


def _first(keys: Numbers, times: Numbers, cells: int, bins: int) -> NDArray[np.intp]:
    """Return which of the cells each patient keeps: at most `bins`, the fullest first."""
    patients = keys // cells
    lengths = _runs(patients)[1]
    if not len(keys) or lengths.max() <= bins:
        return np.arange(len(keys))
    crowded = np.repeat(lengths > bins, lengths)
    few, many = np.flatnonzero(~crowded), np.flatnonzero(crowded)
    order = many[np.lexsort((keys[many], -times[many], patients[many]))]
    lengths = _runs(patients[order])[1]
    place = np.arange(len(order)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.concatenate([few, order[place < bins]])


def _value(word: str) -> float:
    return float(word) if word else ABSENT


def read_columns(index_file: Path) -> Columns:
    """Read an index into columns, over a connection of its own: the writer goes on."""
    with closing(sqlite3.connect(f"file:{index_file}?mode=ro", uri=True)) as connection:
        connection.execute("BEGIN")  # one state of the index for both looks
        return _columns(connection, _Said.read(connection))


def _columns(connection: sqlite3.Connection, labels: "_Said") -> Columns:
    words = {field: _Words() for field in (*FIELDS, "Label")}
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in (*words, *"psnb")}
    patients, studies = _Runs(), _Runs()
    for page in _pages(connection):
        uid, filed, study, series, *fields, instances, sizes = zip(*page, strict=True)
        for name, column in zip(FIELDS, fields, strict=True):
            parts[name].append(np.array([words[name](word) for word in column], np.uint16))
        said = map(labels, series, study, filed, uid)
        parts["Label"].append(np.array([words["Label"](word) for word in said], np.uint32))
        parts["p"].append(patients.numbers(uid))
        parts["s"].append(studies.numbers(study))
        parts["n"].append(np.array(instances, np.uint32))
        parts["b"].append(np.array(sizes, np.uint64))
    whole = {
        name: np.concatenate(found) if found else np.zeros(0, np.uint32)
        for name, found in parts.items()
    }
    return Columns(
        {name: each.words for name, each in words.items()},
        {name: _narrow(whole[name], len(each.words)) for name, each in words.items()},
        whole["p"], whole["s"], whole["n"], whole["b"],
    )  # fmt: skip


def _pages(connection: sqlite3.Connection) -> Iterator[list[tuple[Any, ...]]]:
    rows = connection.execute(ROWS)
    while page := rows.fetchmany(PAGE):
        yield page


class _Said:
    """The word that stands on a series, as verdicts.py has it."""

    def __init__(self, told: Iterable[tuple[int, str, str]]) -> None:
        self._of: tuple[dict[str, str], ...] = ({}, {}, {})  # patient, study, series
        for near, uid, word in told:
            self._of[near][uid] = word
        self._nothing = not any(self._of)

    @classmethod
    def read(cls, connection: sqlite3.Connection) -> "_Said":
        return cls(connection.execute(WORDS_IN_ORDER))

    def __call__(self, series: str, study: str, filed: str, patient: str) -> str:
        if self._nothing:
            return ""
        of_patient, of_study, of_series = self._of
        return max(
            of_series.get(series, NOBODY_SAID),
            of_study.get(study, NOBODY_SAID),
            of_patient.get(filed, NOBODY_SAID),
            of_patient.get(patient, NOBODY_SAID),
        )[len(NOBODY_SAID) :]


class _Runs:
    """Numbers what stands side by side, across pages."""

    def __init__(self) -> None:
        self._last: str | None = None
        self._number = -1

    def numbers(self, names: Sequence[str]) -> NDArray[np.uint32]:
        found = np.empty(len(names), np.uint32)
        last, number = self._last, self._number
        for at, name in enumerate(names):
            if name != last:
                last, number = name, number + 1
            found[at] = number
        self._last, self._number = last, number
        return found


def _narrow(codes: NDArray[Any], words: int) -> Codes:
    """Take one byte for each code where that is enough."""
    return codes.astype(np.uint8) if words <= 1 << 8 else codes
