"""Studies for the console: searched a stretch at a time: no page waits for a whole archive."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gateway.app.picture_room import PictureRoom
from gateway.config import GatewayConfig
from gateway.console.house import StudyFilter
from gateway.store.files import Store
from gateway.store.index import Index

PAGE = 50
STRETCH = 1000  # studies looked at with one statement
SEARCH_SECONDS = 0.08  # then the page shows what it has, and goes on from there
MANY_IMAGES = 20_000
# `like` is for a manufacturer's name alone; the rest is equality.
FITS = """
    (:year = '' OR study_year = CAST(:year AS INTEGER))
    AND (:patient = '' OR patient = :patient)
    AND EXISTS (
        SELECT 1 FROM series WHERE series.study_uid = looked.study_uid AND series.hidden = 0
        AND (:modality = '' OR modality = :modality)
        AND (:body_part = '' OR body_part = :body_part)
        AND (:grade = '' OR grade IS nullif(:grade, '-'))
        AND (:manufacturer = '' OR instr(lower(manufacturer), lower(:manufacturer)) > 0)
    )
"""
LOOK = f"""
    WITH looked AS (
        SELECT study_uid, patient, study_year, age_years FROM study
        WHERE study_uid > :after ORDER BY study_uid LIMIT :stretch
    )
    SELECT study_uid, patient, study_year, age_years, {FITS} AS fits FROM looked
"""  # noqa: S608 - constants
OF_PATIENT = f"""
    SELECT study_uid, patient, study_year, age_years, {FITS} AS fits
    FROM study AS looked WHERE patient = :patient AND study_uid > :after ORDER BY study_uid
    LIMIT :stretch
"""  # noqa: S608 - constants
ONE = f"""
    SELECT study_uid, patient, study_year, age_years, {FITS} AS fits
    FROM study AS looked WHERE study_uid = :study
"""  # noqa: S608 - constants
SUMMARY = """
    SELECT study_uid, group_concat(DISTINCT modality) AS modalities, count(*) AS series,
           group_concat(DISTINCT nullif(body_part, '')) AS parts, max(grade) AS grade,
           max(changed_at) AS changed_at, group_concat(DISTINCT nullif(manufacturer, '')) AS makers
    FROM series WHERE hidden = 0 AND study_uid IN (SELECT value FROM json_each(?))
    GROUP BY study_uid
"""
STUDY = """
    SELECT study.study_uid, study.patient, study_year, age_years, patient.sex, patient.withdrawn,
           patient.countable
    FROM study JOIN patient ON patient.pseudonym = study.patient WHERE study_uid = ?
"""
SERIES_OF = """
    SELECT series_uid, modality, body_part, manufacturer, model, slice_thickness_mm, grade,
           findings, changed_at, hidden,
           (SELECT count(*) FROM instance WHERE instance.series_uid = series.series_uid
               AND instance.hidden = 0) AS instances
    FROM series WHERE study_uid = ? ORDER BY series_uid LIMIT 500
"""
SERIES = "SELECT * FROM series WHERE series_uid = ? AND hidden = 0"
IMAGES = """
    SELECT sop_uid, path, frames, profile_digest, transfer_syntax_uid, size_bytes FROM instance
    WHERE series_uid = ? AND hidden = 0 ORDER BY instance_number, sop_uid LIMIT ?
"""


class StudiesFloor:
    def __init__(
        self, config: GatewayConfig, index: Index, store: Store, pictures: PictureRoom
    ) -> None:
        self._config = config
        self._index = index
        self._store = store
        self._pictures = pictures

    def find(self, wanted: StudyFilter, after: str) -> dict[str, Any]:
        """Return up to a page of studies after a key; `last` where the search goes on."""
        values = asdict(wanted) | {"after": after, "stretch": STRETCH}
        sql = ONE if wanted.study else OF_PATIENT if wanted.patient else LOOK
        until = time.monotonic() + SEARCH_SECONDS
        found: list[dict[str, Any]] = []
        searched = 0
        while True:
            rows = self._index.read(sql, values)
            for row in rows:
                searched += 1
                if row["fits"]:
                    found.append(dict(row))
                if len(found) == PAGE:
                    return self._page(found, searched, row["study_uid"])
            if len(rows) < STRETCH:
                return self._page(found, searched, "")
            values["after"] = rows[-1]["study_uid"]
            if time.monotonic() > until:
                return self._page(found, searched, values["after"])

    def _page(self, found: list[dict[str, Any]], searched: int, last: str) -> dict[str, Any]:
        uids = json.dumps([row["study_uid"] for row in found])
        said = {row["study_uid"]: dict(row) for row in self._index.read(SUMMARY, (uids,))}
        rows = [row | said.get(row["study_uid"], {}) for row in found]
        return {"rows": rows, "searched": searched, "last": last, "full": len(found) == PAGE}

    def study(self, uid: str) -> dict[str, Any] | None:
        rows = self._index.read(STUDY, (uid,))
        if not rows:
            return None
        series = [dict(row) for row in self._index.read(SERIES_OF, (uid,))]
        for one in series:
            one["findings"] = json.loads(one["findings"])
        return dict(rows[0]) | {"series": series}

    def series(self, uid: str, number: int) -> dict[str, Any] | None:
        """Return a series with one image's header, each element with its rule."""
        rows = self._index.read(SERIES, (uid,))
        images = self._images(uid)
        if not rows or not images:
            return None
        image, _frame, total = _chosen(images, number)
        file = self._file(image["path"])
        header = self._pictures.header(file) if file else []
        return dict(rows[0]) | {
            "images": total,
            "number": min(number, total),
            "header": header,
            "here": file is not None,
            "profile_digest": image["profile_digest"] or "",
            "sop_uid": image["sop_uid"],
            "size_bytes": image["size_bytes"],
            "profile": self._config.deid.profile,
        }

    def picture(self, series: str, number: int, *, small: bool) -> bytes | None:
        """Return one image or frame as PNG; number 0 is the middle one."""
        images = self._images(series)
        if not images:
            return None
        if number == 0:
            number = (sum(image["frames"] or 1 for image in images) + 1) // 2
        image, frame, _total = _chosen(images, number)
        file = self._file(image["path"])
        return None if file is None else self._pictures.picture(file, frame, small=small)

    def _images(self, series: str) -> list[dict[str, Any]]:
        return [dict(row) for row in self._index.read(IMAGES, (series, MANY_IMAGES))]

    def _file(self, relative: str) -> Path | None:
        """Find a file where the index says, or where it lies a moment before."""
        filed = self._store.path(relative)
        for path in (filed, self._store.arrivals.path / filed.name):
            if path.exists():
                return path
        return None


def _chosen(images: list[dict[str, Any]], number: int) -> tuple[dict[str, Any], int, int]:
    """Return the image and the frame in it that a number means, and how many numbers there are."""
    total = sum(max(image["frames"] or 1, 1) for image in images)
    left = max(1, min(number, total)) - 1
    for image in images:
        frames = max(image["frames"] or 1, 1)
        if left < frames:
            return image, left, total
        left -= frames
    return images[-1], 0, total
