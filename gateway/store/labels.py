"""Reference standards from a CSV: original identifiers in, pseudonyms kept, the rest forgotten.

Columns: one or more of SeriesInstanceUID, StudyInstanceUID, AccessionNumber, PatientID (with
IssuerOfPatientID), all as the hospital knows them; label, value; optionally reader and adjudicated.
The narrowest of a row's identifiers says what it is about. `value` of a finding is usually
POSITIVE or NEGATIVE.
"""

import csv
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from gateway.errors import ConfigurationFault
from gateway.model import Pseudonym, PseudoUID
from gateway.store.index import Index

SERIES, STUDY = "SeriesInstanceUID", "StudyInstanceUID"
ACCESSION, PATIENT, ISSUER = "AccessionNumber", "PatientID", "IssuerOfPatientID"
IDENTIFIERS = (SERIES, STUDY, ACCESSION, PATIENT)
KNOWN = frozenset({*IDENTIFIERS, ISSUER, "label", "value", "reader", "adjudicated"})
UID_FORM = re.compile(r"[0-9]+(\.[0-9]+)*")
LONGEST_UID, LONGEST_WORD = 64, 64
YES_OR_NO = {"": False, "no": False, "0": False, "false": False,
             "yes": True, "1": True, "true": True}  # fmt: skip
NAMED_AT_MOST = 20  # of the bad lines, in one message

ADD_LABEL = """
    INSERT INTO label (study_uid, series_uid, patient, name, value, reader, adjudicated, source,
                       version)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (coalesce(study_uid, ''), coalesce(series_uid, ''), coalesce(patient, ''),
                     name, reader, source)
        DO UPDATE SET value = excluded.value, adjudicated = excluded.adjudicated,  -- changed mind
                      version = excluded.version
"""
FORGET_SOURCE = "DELETE FROM label WHERE source = ?"
OLDER = "SELECT * FROM label WHERE version < ?"
READ_ANEW = "SELECT DISTINCT source FROM label WHERE version = ? AND source <> ''"
COPY = """
    INSERT INTO label (study_uid, series_uid, patient, name, value, reader, adjudicated, source,
                       version)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT DO NOTHING  -- imported anew since, or copied before a run was cut short
"""
# An object that is still here under its name keeps its UIDs, as its profile says: so do its labels.
DROP_OLDER = """
    DELETE FROM label WHERE version < ?
        AND NOT EXISTS (SELECT 1 FROM instance WHERE instance.sop_uid = label.source)
"""
KNOWN_SERIES = "SELECT 1 FROM series WHERE series_uid = ?"
KNOWN_STUDY = "SELECT 1 FROM study WHERE study_uid = ?"
KNOWN_PATIENT = "SELECT 1 FROM study WHERE filed = ?"


class NotLabels(ConfigurationFault):
    """The file is refused whole; the message names lines and columns, never what stands in them."""


@dataclass(frozen=True, slots=True)
class Label:
    """One reader's word on exactly one of a study, a series, a patient."""

    study_uid: PseudoUID | None
    series_uid: PseudoUID | None
    name: str
    value: str
    reader: str
    patient: Pseudonym | None = None
    adjudicated: bool = False
    source: str = ""  # the stored object it was read from
    version: int = 1  # of the pseudonym key, that its names are made with


@dataclass(frozen=True, slots=True)
class Row:
    """A row that can be kept, or with an accession number still to be found among the studies."""

    line: int
    label: Label
    accession: str = ""


@dataclass(frozen=True, slots=True)
class Read:
    rows: tuple[Row, ...]
    bad: tuple[tuple[int, str], ...]  # line, and what is wrong with it


@dataclass(frozen=True, slots=True)
class Imported:
    taken: int
    without_images: int  # kept for when their images come
    refused_lines: tuple[int, ...] = ()
    unknown_accession_lines: tuple[int, ...] = ()  # not kept: no study here has that number yet


class Keys(Protocol):
    """The site's pseudonyms, as much of them as a CSV needs."""

    def pseudo_uid(self, real: str) -> PseudoUID: ...
    def pseudonym(self, patient_id: str, issuer: str) -> Pseudonym: ...
    def pseudo_accession(self, number: str) -> str: ...
    def names_nobody(self, patient_id: str) -> bool: ...


Studies = Callable[[frozenset[str]], Mapping[str, Sequence[PseudoUID]]]


def _none_known(_: frozenset[str]) -> Mapping[str, Sequence[PseudoUID]]:
    return {}


def import_labels(
    index: Index,
    file: Path,
    keys: Keys,
    studies_of: Studies = _none_known,
    *,
    skip_bad: bool = False,
    version: int = 1,
) -> Imported:
    """Take a whole file in one transaction, or nothing of it; bad lines are skipped on demand.

    `studies_of` finds studies by (keyed) accession number: the index does not hold them.
    `version` is that of the pseudonym key.
    """
    found = _read_file(file, keys)
    if found.bad and not skip_bad:
        raise NotLabels(_complaint(found.bad))
    labels, unknown = _resolved(found.rows, studies_of)
    add_labels(index, [replace(label, version=version) for label in labels])
    return Imported(
        taken=len(labels),
        without_images=sum(not _has_images(index, label) for label in labels),
        refused_lines=tuple(line for line, _ in found.bad),
        unknown_accession_lines=unknown,
    )


def add_labels(index: Index, labels: Iterable[Label], replacing: Iterable[PseudoUID] = ()) -> None:
    """Keep labels durably; those read earlier from the objects named in `replacing` go."""
    with index.transaction() as connection:
        connection.executemany(FORGET_SOURCE, ((source,) for source in replacing))
        connection.executemany(ADD_LABEL, map(_columns, labels))


def copy_labels(
    index: Index,
    version: int,
    remapped: Callable[[PseudoUID, int], PseudoUID],
    renamed: Callable[[Pseudonym, int], Pseudonym],
) -> None:
    """Name what older labels speak of under a newer version of the key as well; repeatable.

    `remapped` and `renamed` bring a UID and a patient's pseudonym from the version they were
    written under to the newest. An object that was read under its new name has spoken itself.
    """

    def uid(text: str | None, written: int) -> PseudoUID | None:
        return remapped(PseudoUID(text), written) if text else None

    def patient(text: str | None, written: int) -> Pseudonym | None:
        return renamed(Pseudonym(text), written) if text else None

    with index.transaction() as connection:
        read = {row["source"] for row in connection.execute(READ_ANEW, (version,))}
        copies = [
            Label(
                uid(row["study_uid"], row["version"]),
                uid(row["series_uid"], row["version"]),
                row["name"],
                row["value"],
                row["reader"],
                patient(row["patient"], row["version"]),
                bool(row["adjudicated"]),
                uid(row["source"], row["version"]) or "",
                version,
            )
            for row in connection.execute(OLDER, (version,)).fetchall()
        ]
        connection.executemany(COPY, (_columns(copy) for copy in copies if copy.source not in read))


def drop_older_labels(index: Index, version: int) -> None:
    """Forget labels under names that no image has any more."""
    with index.transaction() as connection:
        connection.execute(DROP_OLDER, (version,))


def read_labels(lines: Iterable[str], keys: Keys) -> Read:
    """Translate rows, and tell the lines that are none; NotLabels where the columns are wrong."""
    table = csv.DictReader(lines, strict=True)
    columns = set(table.fieldnames or ())
    if unknown := columns - KNOWN:
        raise NotLabels(f"unknown columns: {len(unknown)}; known are {', '.join(sorted(KNOWN))}")
    if not {"label", "value"} <= columns or columns.isdisjoint(IDENTIFIERS):
        raise NotLabels(f"columns needed: label, value and one of {', '.join(IDENTIFIERS)}")
    rows, bad = [], []
    for row in table:
        read = _row(row, table.line_num, keys)
        if isinstance(read, Row):
            rows.append(read)
        else:
            bad.append((table.line_num, read))
    return Read(tuple(rows), tuple(bad))


def _read_file(file: Path, keys: Keys) -> Read:
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            return read_labels(text, keys)
    except FileNotFoundError as fault:
        raise NotLabels(f"{file} is missing") from fault
    except (UnicodeDecodeError, csv.Error) as fault:
        raise NotLabels(f"{file} is not CSV in UTF-8") from fault


def _row(row: Mapping[str, str | None], line: int, keys: Keys) -> Row | str:
    if None in row or None in row.values():
        return "has another number of columns than the first"
    words = {name: (text or "").strip() for name, text in row.items()}
    about = next((name for name in IDENTIFIERS if words.get(name)), None)
    if about is None:
        return f"names none of {', '.join(IDENTIFIERS)}"
    if fault := _fault(words, about, keys):
        return fault
    told = words[about]
    label = Label(
        study_uid=keys.pseudo_uid(told) if about == STUDY else None,
        series_uid=keys.pseudo_uid(told) if about == SERIES else None,
        patient=keys.pseudonym(told, words.get(ISSUER, "")) if about == PATIENT else None,
        name=words["label"],
        value=words["value"],
        reader=words.get("reader", ""),
        adjudicated=YES_OR_NO[words.get("adjudicated", "").lower()],
    )
    return Row(line, label, keys.pseudo_accession(told) if about == ACCESSION else "")


def _fault(words: Mapping[str, str], about: str, keys: Keys) -> str:
    """Say what is wrong with a row; empty for nothing. What stands in it is not repeated."""
    told = words[about]
    long = max(len(words.get(name, "")) for name in ("label", "value", "reader")) > LONGEST_WORD
    broken = {
        f"has a {about} of more than 64 characters": len(told) > LONGEST_UID,
        f"has a {about} that is no UID": about in (SERIES, STUDY) and not UID_FORM.fullmatch(told),
        "has a PatientID that stands for nobody": about == PATIENT and keys.names_nobody(told),
        "has no label or no value": not words["label"] or not words["value"],
        "is too long: a label, its value and its reader have at most 64 characters": long,
        "says neither yes nor no under adjudicated": (
            words.get("adjudicated", "").lower() not in YES_OR_NO
        ),
    }
    return next((what for what, applies in broken.items() if applies), "")


def _complaint(bad: Sequence[tuple[int, str]]) -> str:
    named = "; ".join(f"line {line} {why}" for line, why in bad[:NAMED_AT_MOST])
    rest = f"; and {len(bad) - NAMED_AT_MOST} more" if len(bad) > NAMED_AT_MOST else ""
    return f"nothing was taken: {named}{rest}. Repair them, or leave them out with --skip-bad"


def _resolved(rows: Sequence[Row], studies_of: Studies) -> tuple[list[Label], tuple[int, ...]]:
    """Put studies in the place of accession numbers; return the lines nobody knows, too."""
    wanted = frozenset(row.accession for row in rows if row.accession)
    known = studies_of(wanted) if wanted else {}
    labels, unknown = [], []
    for row in rows:
        if not row.accession:
            labels.append(row.label)
        elif studies := known.get(row.accession):
            labels += [replace(row.label, study_uid=study) for study in studies]
        else:
            unknown.append(row.line)
    return labels, tuple(unknown)


def _columns(label: Label) -> tuple[object, ...]:
    return (
        label.study_uid,
        label.series_uid,
        label.patient,
        label.name,
        label.value,
        label.reader,
        int(label.adjudicated),
        label.source,
        label.version,
    )


def _has_images(index: Index, label: Label) -> bool:
    if label.series_uid is not None:
        return bool(index.read(KNOWN_SERIES, (label.series_uid,)))
    if label.study_uid is not None:
        return bool(index.read(KNOWN_STUDY, (label.study_uid,)))
    return bool(index.read(KNOWN_PATIENT, (label.patient,)))
