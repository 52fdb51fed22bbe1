"""Reference standards from a CSV: original identifiers in, pseudonyms kept, the rest forgotten.

Columns: StudyInstanceUID or SeriesInstanceUID (the hospital's own UIDs), label, value, and
optionally reader. `value` of a finding is usually POSITIVE or NEGATIVE.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import ConfigurationFault
from gateway.model import PseudoUID
from gateway.store.index import Index

STUDY, SERIES = "StudyInstanceUID", "SeriesInstanceUID"
KNOWN = frozenset({STUDY, SERIES, "label", "value", "reader"})
UID_FORM = re.compile(r"[0-9]+(\.[0-9]+)*")
LONGEST_UID, LONGEST_WORD = 64, 64

ADD_LABEL = """
    INSERT INTO label (study_uid, series_uid, name, value, reader, version)
        VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT (coalesce(study_uid, ''), coalesce(series_uid, ''), name, reader)
        DO UPDATE SET value = excluded.value  -- the reader changed their mind
"""
OLDER = "SELECT * FROM label WHERE version < ?"
COPY = """
    INSERT INTO label (study_uid, series_uid, name, value, reader, version)
        VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT DO NOTHING  -- imported anew since, or copied before a run was cut short
"""
DROP_OLDER = "DELETE FROM label WHERE version < ?"
KNOWN_STUDY = "SELECT 1 FROM study WHERE study_uid = ?"
KNOWN_SERIES = "SELECT 1 FROM series WHERE series_uid = ?"


class NotLabels(ConfigurationFault):
    """The file is refused whole; the message names lines and columns, never a UID."""


@dataclass(frozen=True, slots=True)
class Label:
    study_uid: PseudoUID | None
    series_uid: PseudoUID | None
    name: str
    value: str
    reader: str


@dataclass(frozen=True, slots=True)
class Imported:
    taken: int
    without_images: int  # kept for when their images come


def import_labels(
    index: Index, file: Path, pseudo_uid: Callable[[str], PseudoUID], version: int = 1
) -> Imported:
    """Take a whole file in one transaction, or nothing of it; `version` of the pseudonym key."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            labels = list(read_labels(text, pseudo_uid))
    except FileNotFoundError as fault:
        raise NotLabels(f"{file} is missing") from fault
    except (UnicodeDecodeError, csv.Error) as fault:
        raise NotLabels(f"{file} is not CSV in UTF-8") from fault
    with index.transaction() as connection:
        connection.executemany(
            ADD_LABEL,
            ((x.study_uid, x.series_uid, x.name, x.value, x.reader, version) for x in labels),
        )
    unknown = sum(not _has_images(index, label) for label in labels)
    return Imported(taken=len(labels), without_images=unknown)


def copy_labels(index: Index, version: int, renamed: Callable[[PseudoUID, int], PseudoUID]) -> None:
    """Name older labels' images under a newer version of the key as well; repeatable.

    `renamed` brings a UID from the version it was written under to the newest.
    """

    def anew(uid: str | None, written: int) -> PseudoUID | None:
        return None if uid is None else renamed(PseudoUID(uid), written)

    with index.transaction() as connection:
        rows = connection.execute(OLDER, (version,)).fetchall()
        connection.executemany(
            COPY,
            (
                (
                    anew(row["study_uid"], row["version"]),
                    anew(row["series_uid"], row["version"]),
                    row["name"],
                    row["value"],
                    row["reader"],
                    version,
                )
                for row in rows
            ),
        )


def drop_older_labels(index: Index, version: int) -> None:
    """Forget labels under names that no image has any more."""
    with index.transaction() as connection:
        connection.execute(DROP_OLDER, (version,))


def read_labels(lines: Iterable[str], pseudo_uid: Callable[[str], PseudoUID]) -> Iterator[Label]:
    """Translate rows; NotLabels at the first that is not one."""
    rows = csv.DictReader(lines, strict=True)
    columns = set(rows.fieldnames or ())
    if unknown := columns - KNOWN:
        raise NotLabels(f"unknown columns: {len(unknown)}; known are {', '.join(sorted(KNOWN))}")
    if not {"label", "value"} <= columns or not columns & {STUDY, SERIES}:
        raise NotLabels(f"columns needed: {STUDY} or {SERIES}, label, value")
    for number, row in enumerate(rows, start=2):
        yield _label(row, number, pseudo_uid)


def _label(
    row: Mapping[str, str | None], number: int, pseudo_uid: Callable[[str], PseudoUID]
) -> Label:
    if None in row or None in row.values():
        raise NotLabels(f"line {number} has another number of columns than the first")
    words = {name: (text or "").strip() for name, text in row.items()}
    study, series = words.get(STUDY, ""), words.get(SERIES, "")
    uid = series or study
    if len(uid) > LONGEST_UID or not UID_FORM.fullmatch(uid):
        raise NotLabels(f"line {number} names no study or series by its UID")
    if not words["label"] or not words["value"]:
        raise NotLabels(f"line {number} has no label or no value")
    if max(len(words[name]) for name in ("label", "value")) > LONGEST_WORD:
        raise NotLabels(f"line {number}: a label and its value have at most 64 characters")
    return Label(
        study_uid=None if series else pseudo_uid(uid),
        series_uid=pseudo_uid(uid) if series else None,
        name=words["label"],
        value=words["value"],
        reader=words.get("reader", ""),
    )


def _has_images(index: Index, label: Label) -> bool:
    if label.series_uid is not None:
        return bool(index.read(KNOWN_SERIES, (label.series_uid,)))
    return bool(index.read(KNOWN_STUDY, (label.study_uid,)))
