"""Counting and selecting over the index: SQL of fixed shapes, every value bound."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from string import Template
from types import MappingProxyType
from typing import Protocol

from gateway.store.index import VISIBLE, Index
from gateway.store.verdicts import WORD_OF_SERIES, WORDS_BY_UID

# A field's stored spelling, as text; '' where the image says nothing.
SPELLING: Mapping[str, str] = MappingProxyType(
    {
        "Modality": "series.modality",
        "BodyPartExamined": "series.body_part",
        "PatientSex": "patient.sex",
        "PatientAge": "coalesce(CAST(study.age_years AS TEXT), '')",
        "Manufacturer": "series.manufacturer",
        "SliceThickness": "coalesce(CAST(series.slice_thickness_mm AS TEXT), '')",
        "StudyYear": "coalesce(CAST(study.study_year AS TEXT), '')",
        "QualityGrade": "coalesce(series.grade, '')",
        "Label": WORD_OF_SERIES,
    }
)
# CROSS JOIN is SQLite's word for "in this order": the planner, which cannot know how long a bound
# list is, has put the lists outermost and taken minutes.
ROWS = """series
    CROSS JOIN study ON study.study_uid = series.study_uid
    CROSS JOIN patient ON patient.pseudonym = study.patient"""
INSTANCES = "instance.series_uid = series.series_uid AND instance.hidden = 0"
COUNTED = MappingProxyType(
    {
        "patients": "patient.pseudonym",
        "studies": "study.study_uid",
        "series": "series.series_uid",
        "instances": "instance.sop_uid",
        "bytes": "instance.sop_uid",
    }
)
OF_INSTANCES = frozenset({"instances", "bytes"})
# What each counts for, and how much of it makes one: a patient's bytes are rounded to whole MiB.
WEIGHT: Mapping[str, tuple[str, int]] = MappingProxyType(
    {"bytes": ("instance.size_bytes", 1 << 20)}
)
SPELLINGS = Template("SELECT DISTINCT $spelling AS word FROM $rows WHERE $visible")
# A patient is kept in at most :bins cells, those with most of their images first, and counts at
# most :clip in each: the price of a question rests on both.
COUNT = Template("""
    WITH first (low, high, bin) AS MATERIALIZED (
             SELECT json_extract(value, '$$[0]'), json_extract(value, '$$[1]'),
                    json_extract(value, '$$[2]')
             FROM json_each(:first)),
         second (low, high, bin) AS MATERIALIZED (
             SELECT json_extract(value, '$$[0]'), json_extract(value, '$$[1]'),
                    json_extract(value, '$$[2]')
             FROM json_each(:second)),
         found (patient, one, weight, first_bin, second_bin) AS (
             SELECT DISTINCT patient.pseudonym, $counted, $weight, first.bin, second.bin
             FROM $rows
             CROSS JOIN first ON $first
             CROSS JOIN second ON $second
             WHERE $visible $conditions),
         held (patient, first_bin, second_bin, times) AS (
             SELECT patient, first_bin, second_bin,
                    min((sum(weight) + $one / 2) / $one, :clip)
             FROM found GROUP BY patient, first_bin, second_bin),
         placed (first_bin, second_bin, times, place) AS (
             SELECT first_bin, second_bin, times,
                    row_number() OVER (PARTITION BY patient
                                       ORDER BY times DESC, first_bin, second_bin)
             FROM held)
    SELECT first_bin, second_bin, sum(times) AS total
    FROM placed WHERE place <= :bins GROUP BY first_bin, second_bin
""")
SELECT = Template("""
    SELECT patient.pseudonym AS patient, study.study_uid, series.series_uid,
           series.grade AS grade, min(instance.profile_digest) AS profile_digest,
           min(instance.profile_digest) = max(instance.profile_digest) AS one_profile
    FROM $rows CROSS JOIN instance ON $instances
    WHERE $visible $conditions
    GROUP BY series.series_uid
    ORDER BY patient.pseudonym, study.study_uid, series.series_uid
""")
CONDITION = Template("AND $spelling IN (SELECT value FROM json_each(:$name))")
# Each patient as the series with most of their images has them; between equals the first UID.
PRINCIPALS = Template("""
    SELECT $spellings FROM (
        SELECT series.series_uid,
               row_number() OVER (PARTITION BY patient.pseudonym
                                  ORDER BY count(*) DESC, series.series_uid) AS place
        FROM $rows CROSS JOIN instance ON $instances
        WHERE $visible
        GROUP BY series.series_uid) AS chosen
    CROSS JOIN series ON series.series_uid = chosen.series_uid
    CROSS JOIN study ON study.study_uid = series.study_uid
    CROSS JOIN patient ON patient.pseudonym = study.patient
    WHERE chosen.place = 1
""")
WITHDRAWN = "SELECT pseudonym FROM patient WHERE withdrawn = 1 ORDER BY pseudonym"
STILL_SHOWN = f"""
    SELECT count(*) AS series FROM json_each(?) AS frozen
    WHERE frozen.value <= (SELECT count(*) FROM {ROWS} CROSS JOIN instance ON {INSTANCES}
                           WHERE series.series_uid = frozen.key AND {VISIBLE})
"""  # noqa: S608 - constants
# A category is grouped by its spelling, a number by the range it lies in: spellings of numbers are
# without end. What is absent lies below every number.
NUMBER: Mapping[str, str] = MappingProxyType(
    {
        "PatientAge": "coalesce(study.age_years, :absent)",
        "SliceThickness": "coalesce(series.slice_thickness_mm, :absent)",
        "StudyYear": "coalesce(study.study_year, :absent)",
    }
)
ABSENT, LOWEST, HIGHEST = -2e300, -1e300, 1e300
Cells = dict[tuple[str, ...], int]
SAME = Template("$table.low = $value")
WITHIN = Template("$value >= $table.low AND $value < $table.high")
WHOLE = (("*", "*", "*"),)


@dataclass(frozen=True, slots=True)
class Allowed:
    """A field and the stored spellings that meet a condition on it."""

    field: str
    words: Sequence[str]


@dataclass(frozen=True, slots=True)
class Grouped:
    """A field and its bins: (spelling, spelling, bin), or (from, below, bin) for a number."""

    field: str
    bins: Sequence[tuple[str, str, str] | tuple[float, float, str]]


@dataclass(frozen=True, slots=True)
class Selected:
    patient: str
    study_uid: str
    series_uid: str
    profile_digest: str
    grade: str = ""  # empty until the series is quiet


class Counting(Protocol):
    """A snapshot that counts as the SQL here does, and faster."""

    def spellings(self, field: str) -> list[str]: ...
    def count(
        self, unit: str, where: Sequence[Allowed], by: Sequence[Grouped], clip: int, bins: int
    ) -> Cells: ...


class Tally:
    """Reads the index for the request line; true counts go no further than noise and gate.

    `snapshot` gives the index by columns where it is so large that SQL would take seconds.
    """

    def __init__(
        self, index: Index, snapshot: Callable[[], Counting | None] = lambda: None
    ) -> None:
        self._index = index
        self._snapshot = snapshot

    def spellings(self, field: str) -> list[str]:
        """Return how the images of countable patients spell a field."""
        if (columns := self._snapshot()) is not None:
            return columns.spellings(field)
        sql = SPELLINGS.substitute(spelling=SPELLING[field], rows=ROWS, visible=VISIBLE)
        return [row["word"] for row in self._index.read(sql)]

    def count(
        self, unit: str, where: Sequence[Allowed], by: Sequence[Grouped], clip: int, bins: int
    ) -> Cells:
        """Return the cells that hold somebody; every patient's share in them is bounded."""
        if (columns := self._snapshot()) is not None:
            return columns.count(unit, where, by, clip, bins)
        sql = _count_shape(unit, tuple(a.field for a in where), tuple(g.field for g in by))
        maps = [tuple(grouped.bins) for grouped in by] + [WHOLE, WHOLE]
        values = _bound(where) | {
            "first": json.dumps(maps[0]),
            "second": json.dumps(maps[1]),
            "clip": clip,
            "bins": bins,
            "absent": ABSENT,
        }
        rows = self._index.read(sql, values)
        return {(row["first_bin"], row["second_bin"])[: len(by)]: int(row["total"]) for row in rows}

    def select(self, where: Sequence[Allowed]) -> list[Selected]:
        """Return the series of a cohort; one de-identified under two profiles is left out."""
        sql = SELECT.substitute(
            rows=ROWS,
            instances=INSTANCES,
            visible=VISIBLE,
            conditions=_conditions(tuple(a.field for a in where)),
        )
        return [
            Selected(
                row["patient"],
                row["study_uid"],
                row["series_uid"],
                row["profile_digest"] or "",
                row["grade"] or "",
            )
            for row in self._index.read(sql, _bound(where))
            if row["one_profile"] in (1, None)
        ]

    def still_shows(self, frozen: Mapping[str, int]) -> bool:
        """Say whether series with so many instances each may still be used, every one of them."""
        row = self._index.read(STILL_SHOWN, (json.dumps(dict(frozen)),))[0]
        return int(row["series"]) == len(frozen)

    def principals(self, fields: Sequence[str]) -> list[tuple[str, ...]]:
        """Return each countable patient's spellings, taken from one series of theirs."""
        sql = PRINCIPALS.substitute(
            spellings=", ".join(SPELLING[field] for field in fields),
            rows=ROWS,
            instances=INSTANCES,
            visible=VISIBLE,
        )
        return [tuple(row) for row in self._index.read(sql)]

    def withdrawn(self) -> list[str]:
        return [row["pseudonym"] for row in self._index.read(WITHDRAWN)]

    def labels(self, name: str) -> dict[str, str]:
        """Return the word that stands for one label, by series or study (see verdicts.py)."""
        return {row["uid"]: row["word"] for row in self._index.read(WORDS_BY_UID, {"name": name})}

    def files(self, series_uid: str) -> list[str]:
        """Return the paths of a series below the store, in instance order."""
        return [str(row["path"]) for row in self._index.files_of_series(series_uid)]


def _bound(where: Sequence[Allowed]) -> dict[str, object]:
    return {f"where_{allowed.field}": json.dumps(list(allowed.words)) for allowed in where}


@cache
def _conditions(fields: tuple[str, ...]) -> str:
    return "\n".join(
        CONDITION.substitute(spelling=SPELLING[field], name=f"where_{field}") for field in fields
    )


def _group(field: str, table: str) -> str:
    if not field:
        return SAME.substitute(table=table, value="'*'")
    if field in NUMBER:
        return WITHIN.substitute(table=table, value=NUMBER[field])
    return SAME.substitute(table=table, value=SPELLING[field])


@cache
def _count_shape(unit: str, where: tuple[str, ...], by: tuple[str, ...]) -> str:
    rows = ROWS
    if unit in OF_INSTANCES:
        rows += f" CROSS JOIN instance ON {INSTANCES}"
    groups = [_group(*pair) for pair in zip((*by, "", "")[:2], ("first", "second"), strict=True)]
    weight, one = WEIGHT.get(unit, ("1", 1))
    return COUNT.substitute(
        visible=VISIBLE,
        counted=COUNTED[unit],
        weight=weight,
        one=one,
        rows=rows,
        first=groups[0],
        second=groups[1],
        conditions=_conditions(where),
    )
