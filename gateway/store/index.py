"""The index: what the stored files say, in SQLite, rebuilt from them at any time.

Nothing here identifies a patient. Every table is STRICT and may be read by other rooms with
`Index.read(sql, values)`; only the instance line's one writer changes the first four.

    patient   pseudonym PK, countable (0: placeholder ID, in no patient count and no cohort),
              withdrawn (1: in no question and no cohort), sex ('F' | 'M' | 'O' | '' as sent)
    study     study_uid PK, patient -> patient.pseudonym, filed (the patient its files name, who
              may count as another), study_year (the true year, or NULL), age_years (capped at 89,
              or NULL)
    series    series_uid PK, study_uid -> study, modality, body_part, manufacturer, model,
              slice_thickness_mm (or NULL), grade ('A'..'D', or NULL until the series is quiet),
              findings (JSON list of texts), changed_at (UNIX seconds of the last change),
              hidden (1: every instance is), instances and size_bytes (of what is not hidden;
              NULL until the series is quiet)
    instance  sop_uid PK, series_uid -> series, sop_class_uid, transfer_syntax_uid, rows, columns,
              frames, instance_number, size_bytes, profile_digest (hex), received_digest (hex),
              path (relative to the store; a moment may pass before the file has moved there),
              hidden (1: rejected by a note, or a note itself)
    label     one reader's word on a series, a study or all of a patient's: exactly one of
              series_uid, study_uid, patient is not NULL (they reference nothing: a label may come
              before its images), name, value, reader ('' when nobody is named), adjudicated (1:
              readers settled on it), source (sop_uid of the stored object it was read from, else
              ''); unique in all these but value and adjudicated; version (of the pseudonym key,
              that its UIDs and patients are named with). Whose word stands: verdicts.py
    label_changes   its one row's number grows with every change that a person made in `label`
    rejection, standing   what hides instances and patients: see gateway/store/hiding.py

What may be counted or chosen is `VISIBLE`, and `instance.hidden = 0` where instances are joined.
"""

import fcntl
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import sqlite_utils

from gateway.errors import EnvironmentFault, GatewayError, IntegrityFault
from gateway.model import InstanceFacts, Pseudonym, PseudoUID
from gateway.store import hiding, rows
from gateway.store.migrations import MIGRATIONS
from gateway.store.rejection import Rejection
from gateway.store.standing import Standing

BUSY_MILLISECONDS = 30_000
VISIBLE = "patient.countable = 1 AND patient.withdrawn = 0 AND series.hidden = 0"

ADD_PATIENT = """
    INSERT INTO patient (pseudonym, countable, sex, withdrawn)
    VALUES (coalesce((SELECT person FROM standing WHERE pseudonym = ?1), ?1), ?2, ?3,
            coalesce((SELECT withdrawn FROM standing WHERE pseudonym = ?1), 0))
        ON CONFLICT (pseudonym) DO UPDATE SET
            countable = excluded.countable,
            withdrawn = excluded.withdrawn,
            sex = CASE excluded.sex WHEN '' THEN patient.sex ELSE excluded.sex END
"""
ADD_STUDY = """
    INSERT INTO study (study_uid, filed, patient, study_year, age_years)
    VALUES (?1, ?2, coalesce((SELECT person FROM standing WHERE pseudonym = ?2), ?2), ?3, ?4)
        ON CONFLICT (study_uid) DO UPDATE SET
            filed = excluded.filed,
            patient = excluded.patient,
            study_year = coalesce(excluded.study_year, study.study_year),
            age_years = coalesce(excluded.age_years, study.age_years)
"""
ADD_SERIES = """
    INSERT INTO series (series_uid, study_uid, modality, body_part, manufacturer, model,
                        slice_thickness_mm, changed_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (series_uid) DO UPDATE SET
            study_uid = excluded.study_uid,
            modality = excluded.modality,
            body_part = CASE excluded.body_part WHEN '' THEN series.body_part
                                                ELSE excluded.body_part END,
            manufacturer = excluded.manufacturer,
            model = excluded.model,
            slice_thickness_mm = coalesce(excluded.slice_thickness_mm, series.slice_thickness_mm),
            grade = NULL,  -- it grew: look at it again once it is quiet
            findings = '[]',
            instances = NULL,
            size_bytes = NULL,
            changed_at = excluded.changed_at
"""
ADD_INSTANCE = """
    INSERT INTO instance (sop_uid, series_uid, sop_class_uid, transfer_syntax_uid, rows, columns,
                          frames, instance_number, size_bytes, profile_digest, received_digest,
                          path, hidden)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12,
            EXISTS (SELECT 1 FROM rejection WHERE sop_uid = ?1))
        ON CONFLICT (sop_uid) DO UPDATE SET  -- a correction by the PACS supersedes
            series_uid = excluded.series_uid,
            sop_class_uid = excluded.sop_class_uid,
            transfer_syntax_uid = excluded.transfer_syntax_uid,
            rows = excluded.rows,
            columns = excluded.columns,
            frames = excluded.frames,
            instance_number = excluded.instance_number,
            size_bytes = excluded.size_bytes,
            profile_digest = excluded.profile_digest,
            received_digest = excluded.received_digest,
            path = excluded.path,
            hidden = excluded.hidden
"""
# What a correction left behind: a series, study or patient without an instance.
DROP_EMPTY_SERIES = """
    DELETE FROM series WHERE NOT EXISTS
        (SELECT 1 FROM instance WHERE instance.series_uid = series.series_uid)
"""
DROP_EMPTY_STUDIES = """
    DELETE FROM study WHERE NOT EXISTS
        (SELECT 1 FROM series WHERE series.study_uid = study.study_uid)
"""
DROP_EMPTY_PATIENTS = """
    DELETE FROM patient WHERE NOT EXISTS
        (SELECT 1 FROM study WHERE study.patient = patient.pseudonym)
"""
PATH_OF = "SELECT path FROM instance WHERE sop_uid = ?"
PATHS_RECEIVED_AS = "SELECT path FROM instance WHERE received_digest = ?"  # rare: a scan
PATHS_OF_SERIES = """
    SELECT path FROM instance WHERE series_uid = ? AND hidden = 0 ORDER BY sop_uid
"""
QUIET = """
    SELECT series_uid FROM series WHERE grade IS NULL AND changed_at <= ? AND hidden = 0 LIMIT ?
"""
GRADE = """
    UPDATE series SET grade = ?, findings = ?, (instances, size_bytes) =
        (SELECT count(*), coalesce(sum(size_bytes), 0) FROM instance
         WHERE instance.series_uid = series.series_uid AND instance.hidden = 0)
    WHERE series_uid = ? AND changed_at <= ?
"""
# What loses an instance is to be measured again.
UNMEASURED = """
    UPDATE series SET instances = NULL, size_bytes = NULL WHERE series_uid IN
        (SELECT series_uid FROM instance WHERE sop_uid IN (SELECT value FROM json_each(?)))
"""
FORGET = "DELETE FROM instance WHERE sop_uid = ?"
COUNTS = """
    SELECT (SELECT count(*) FROM patient) AS patients,
           (SELECT count(*) FROM study) AS studies,
           (SELECT count(*) FROM series) AS series,
           (SELECT count(*) FROM instance) AS instances,
           (SELECT coalesce(sum(size_bytes), 0) FROM instance) AS bytes,
           (SELECT count(*) FROM instance WHERE hidden = 1) AS hidden,
           (SELECT count(*) FROM patient WHERE withdrawn = 1) AS withdrawn,
           (SELECT count(*) FROM label) AS labels
"""
GRADES = "SELECT coalesce(grade, '-') AS grade, count(*) AS series FROM series GROUP BY grade"
FILES_OF_SERIES = f"""
    SELECT patient.pseudonym AS patient, study.study_uid, series.series_uid, instance.path,
           instance.sop_uid, instance.profile_digest
    FROM instance
    JOIN series USING (series_uid)
    JOIN study USING (study_uid)
    JOIN patient ON patient.pseudonym = study.patient
    WHERE series_uid = ? AND {VISIBLE} AND instance.hidden = 0
    ORDER BY instance.instance_number, instance.sop_uid
"""  # noqa: S608 - a constant


class Index:
    """One connection; the writer is the instance line, everyone else reads."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = Lock()

    @classmethod
    def open(cls, path: Path) -> "Index":
        """Open or make the index and bring its schema up to date (WAL, synchronous=FULL)."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = OFF")  # rows of one batch come in any order
            _migrate(connection, path.with_suffix(".lock"))
        except sqlite3.DatabaseError as fault:
            raise _unusable(path, fault) from fault
        connection.row_factory = sqlite3.Row
        return cls(connection)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def add(
        self,
        batch: Sequence[InstanceFacts],
        at: float = 0.0,
        *,
        regrouped: bool = False,
        notes: Sequence[Rejection] = (),
    ) -> None:
        """Take a batch in one durable transaction; the same batch again changes nothing.

        `regrouped`: a correction moved an instance, and may have left a series or study empty.
        `notes`: the rejection notes among the batch.
        """
        with self._transaction() as connection:
            touched = hiding.take_notes(connection, batch, notes)
            if regrouped:
                connection.execute(UNMEASURED, (json.dumps([one.sop_uid for one in batch]),))
            connection.executemany(ADD_PATIENT, map(rows.patient_row, batch))
            connection.executemany(ADD_STUDY, map(rows.study_row, batch))
            connection.executemany(ADD_SERIES, (rows.series_row(facts, at) for facts in batch))
            connection.executemany(ADD_INSTANCE, map(rows.instance_row, batch))
            hiding.mark(connection, touched, batch, at)
            if regrouped:
                _drop_empty(connection)

    def forget(self, sop_uids: Sequence[PseudoUID], at: float = 0.0) -> None:
        """Drop instances whose files are gone; what a note among them hid is shown again."""
        with self._transaction() as connection:
            touched = hiding.forget_notes(connection, sop_uids)
            connection.execute(UNMEASURED, (json.dumps(list(sop_uids)),))
            connection.executemany(FORGET, ((uid,) for uid in sop_uids))
            hiding.mark(connection, touched, (), at)

    def restate(self, read: Callable[[], Mapping[Pseudonym, Standing]]) -> None:
        """Let every study count for the person the register says, and nobody who withdrew.

        The register is read while this connection alone may write: whoever comes last has seen
        every decision.
        """
        with self._transaction() as connection:
            hiding.restate(connection, read())
            _drop_empty(connection)

    def drop_empty(self) -> None:
        """Drop series, studies and patients no instance belongs to any more."""
        with self._transaction() as connection:
            _drop_empty(connection)

    def path_of(self, sop_uid: PseudoUID) -> str | None:
        """Return where the index says an instance lies, relative to the store."""
        found = self.read(PATH_OF, (sop_uid,))
        return str(found[0]["path"]) if found else None

    def received(self, digest: str) -> list[str]:
        """Return where the index says the instance that arrived as those bytes lies."""
        return [str(row["path"]) for row in self.read(PATHS_RECEIVED_AS, (digest,))]

    def paths_of_series(self, series_uid: str) -> list[str]:
        return [str(row["path"]) for row in self.read(PATHS_OF_SERIES, (series_uid,))]

    def files_of_series(self, series_uid: str) -> list[sqlite3.Row]:
        """Return patient, UIDs and paths of a series that may enter a cohort; else nothing."""
        return self.read(FILES_OF_SERIES, (series_uid,))

    def quiet(self, before: float, at_most: int = 50) -> list[str]:
        """Return ungraded series that have not changed since `before`."""
        return [str(row["series_uid"]) for row in self.read(QUIET, (before, at_most))]

    def grade(self, series_uid: str, grade: str, findings: Sequence[str], before: float) -> None:
        """Record a grade, unless the series changed after `before`."""
        with self._transaction() as connection:
            connection.execute(GRADE, (grade, json.dumps(list(findings)), series_uid, before))

    def counts(self) -> dict[str, Any]:
        """Return totals and series by grade, for the hospital's own eyes."""
        totals = dict(self.read(COUNTS)[0])
        return totals | {"grades": {row["grade"]: row["series"] for row in self.read(GRADES)}}

    def read(
        self, sql: str, values: Sequence[object] | Mapping[str, object] = ()
    ) -> list[sqlite3.Row]:
        """Run one SELECT of another room against the tables described above."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write several statements as one; for the rooms that own a table here."""
        with self._transaction() as connection:
            yield connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def _migrate(connection: sqlite3.Connection, lock_file: Path) -> None:
    """Apply what is pending; processes that open the index together take turns."""
    with lock_file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        database = sqlite_utils.Database(connection, execute_plugins=False)
        if MIGRATIONS.pending(database):
            MIGRATIONS.apply(database)


def _drop_empty(connection: sqlite3.Connection) -> None:
    for statement in (DROP_EMPTY_SERIES, DROP_EMPTY_STUDIES, DROP_EMPTY_PATIENTS):
        connection.execute(statement)


def _unusable(path: Path, fault: sqlite3.DatabaseError) -> GatewayError:
    if isinstance(fault, sqlite3.OperationalError):
        return EnvironmentFault(f"{path} cannot be opened: {fault}")
    return IntegrityFault(
        f"{path} is damaged ({fault}): move it away and run `radfed gateway reindex`"
    )
