"""What keeps instances and patients out of every count: the index's side of it, all SQL.

    rejection  note_uid, sop_uid PK: what a rejection note hides, itself included; title (its code)
    standing   pseudonym PK, person (whom it counts as), withdrawn: a copy of the register

From these the writer derives `instance.hidden`, `series.hidden` (all its instances are),
`study.patient` (the person that `study.filed` counts as) and `patient.withdrawn`, whatever came
first: the note or the images, the decision or the patient.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from gateway.model import InstanceFacts, Pseudonym, PseudoUID
from gateway.store.rejection import KEY_OBJECTS, Rejection
from gateway.store.standing import Standing

NAMED_BY = "SELECT sop_uid FROM rejection WHERE note_uid = ?"
FORGET_NOTE = "DELETE FROM rejection WHERE note_uid = ?"
ADD_REJECTION = "INSERT INTO rejection (note_uid, sop_uid, title) VALUES (?, ?, ?)"
MARK_INSTANCES = """
    UPDATE instance SET hidden = EXISTS
        (SELECT 1 FROM rejection WHERE rejection.sop_uid = instance.sop_uid)
    WHERE sop_uid IN (SELECT value FROM json_each(?))
"""
SERIES_OF = """
    SELECT DISTINCT series_uid FROM instance WHERE sop_uid IN (SELECT value FROM json_each(?))
"""
# A series of which a part was hidden or shown again is another series: look at it again.
MARK_SERIES = """
    UPDATE series SET
        hidden = NOT EXISTS (SELECT 1 FROM instance
                             WHERE instance.series_uid = series.series_uid AND hidden = 0),
        grade = NULL, findings = '[]', instances = NULL, size_bytes = NULL, changed_at = ?
    WHERE series_uid IN (SELECT value FROM json_each(?))
"""
HIDE_FULLY_REJECTED = """
    UPDATE series SET hidden = NOT EXISTS
        (SELECT 1 FROM instance WHERE instance.series_uid = series.series_uid AND hidden = 0)
    WHERE series_uid IN (SELECT value FROM json_each(?))
"""
FORGET_STANDINGS = "DELETE FROM standing"
ADD_STANDING = "INSERT INTO standing (pseudonym, person, withdrawn) VALUES (?, ?, ?)"
PERSON = "coalesce((SELECT person FROM standing WHERE pseudonym = study.filed), study.filed)"
ADD_PERSONS = f"""
    INSERT OR IGNORE INTO patient (pseudonym, countable, sex)
    SELECT DISTINCT {PERSON}, patient.countable, patient.sex
    FROM study JOIN patient ON patient.pseudonym = study.patient
    WHERE study.patient <> {PERSON}
"""  # noqa: S608 - constants
REGROUP_STUDIES = f"UPDATE study SET patient = {PERSON} WHERE patient <> {PERSON}"  # noqa: S608 - as above
MARK_PATIENTS = """
    UPDATE patient SET withdrawn = coalesce(
        (SELECT standing.withdrawn FROM standing WHERE standing.pseudonym = patient.pseudonym), 0)
"""


def take_notes(
    connection: sqlite3.Connection, batch: Sequence[InstanceFacts], notes: Iterable[Rejection]
) -> set[PseudoUID]:
    """Record what the batch's notes reject; return the instances to look at afterwards."""
    documents = {facts.sop_uid for facts in batch if facts.sop_class_uid == KEY_OBJECTS}
    touched = forget_notes(connection, documents)  # a corrected note may name others
    for note in notes:
        named = {note.note, *note.rejected}
        touched |= named
        connection.executemany(
            ADD_REJECTION, ((note.note, uid, note.title) for uid in sorted(named))
        )
    return touched


def forget_notes(connection: sqlite3.Connection, documents: Iterable[PseudoUID]) -> set[PseudoUID]:
    """Take back what these documents rejected, if anything; return the instances concerned."""
    touched: set[PseudoUID] = set()
    for uid in documents:
        touched |= {row[0] for row in connection.execute(NAMED_BY, (uid,))}
        connection.execute(FORGET_NOTE, (uid,))
    return touched


def mark(
    connection: sqlite3.Connection,
    touched: Iterable[PseudoUID],
    batch: Sequence[InstanceFacts],
    at: float,
) -> None:
    """Hide and show what notes touched, then the series that hold nothing else."""
    if uids := json.dumps(sorted(touched)) if touched else "":
        connection.execute(MARK_INSTANCES, (uids,))
        changed = [row[0] for row in connection.execute(SERIES_OF, (uids,))]
        connection.execute(MARK_SERIES, (at, json.dumps(changed)))
    grown = sorted({facts.series_uid for facts in batch})
    connection.execute(HIDE_FULLY_REJECTED, (json.dumps(grown),))


def restate(connection: sqlite3.Connection, known: Mapping[Pseudonym, Standing]) -> None:
    """Copy the register and let every study count for the person it stands for now."""
    connection.execute(FORGET_STANDINGS)
    connection.executemany(
        ADD_STANDING, ((name, s.person, int(s.withdrawn)) for name, s in known.items())
    )
    connection.execute(ADD_PERSONS)
    connection.execute(REGROUP_STUDIES)
    connection.execute(MARK_PATIENTS)
