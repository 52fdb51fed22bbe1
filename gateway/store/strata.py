"""What the index says of the series a product is tested on, for subgroups; and readers' calls."""

import json
from collections.abc import Iterable, Mapping

from gateway.store.index import Index
from gateway.store.verdicts import COUNTS

STRATA = """
    SELECT series.series_uid,
           patient.sex AS PatientSex,
           coalesce(CAST(study.age_years AS TEXT), '') AS PatientAge,
           series.manufacturer AS Manufacturer,
           series.model AS ManufacturerModelName,
           coalesce(CAST(series.slice_thickness_mm AS TEXT), '') AS SliceThickness,
           coalesce(series.grade, '') AS QualityGrade
    FROM json_each(?) AS asked
    CROSS JOIN series ON series.series_uid = asked.value
    CROSS JOIN study ON study.study_uid = series.study_uid
    CROSS JOIN patient ON patient.pseudonym = study.patient
"""
READERS = f"""
    SELECT series.series_uid, label.reader, upper(label.value) AS word
    FROM json_each(?) AS asked
    CROSS JOIN series ON series.series_uid = asked.value
    CROSS JOIN label ON label.series_uid = series.series_uid OR label.study_uid = series.study_uid
    WHERE label.name = ? AND {COUNTS}
"""  # noqa: S608 - a constant
# A drawing counts while its object is stored, and not rejected.
DRAWN = """
    SELECT DISTINCT series.series_uid, label.reader, instance.path
    FROM json_each(?) AS asked
    CROSS JOIN series ON series.series_uid = asked.value
    CROSS JOIN label ON label.series_uid = series.series_uid
        OR (label.series_uid IS NULL AND label.study_uid = series.study_uid)
    CROSS JOIN instance ON instance.sop_uid = label.source AND instance.hidden = 0
    WHERE label.name = ? AND upper(label.value) = 'POSITIVE'
    ORDER BY series.series_uid, label.reader, instance.path
"""


class Strata:
    """Reads the index for the examination of a product; nothing of it leaves uncounted."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def of_series(self, series: Iterable[str]) -> dict[str, Mapping[str, str]]:
        """Return each series' stored spellings by field."""
        rows = self._index.read(STRATA, (json.dumps(list(series)),))
        return {row["series_uid"]: {k: row[k] for k in row.keys()[1:]} for row in rows}

    def calls(self, series: Iterable[str], label: str) -> list[tuple[str, str, str]]:
        """Return every reader's word on a label: (series, reader, word)."""
        rows = self._index.read(READERS, (json.dumps(list(series)), label))
        return [(row["series_uid"], row["reader"], row["word"]) for row in rows]

    def drawn(self, series: Iterable[str], label: str) -> dict[str, list[tuple[str, str]]]:
        """Return who drew a label where, by series: (reader, path of the object in the store)."""
        found: dict[str, list[tuple[str, str]]] = {}
        for row in self._index.read(DRAWN, (json.dumps(list(series)), label)):
            found.setdefault(row["series_uid"], []).append((row["reader"], row["path"]))
        return found
