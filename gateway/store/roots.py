"""The name a patient had first: what stays theirs for ever, however often pseudonyms are rotated.

A newer pseudonym is a keyed digest of the one before, so none leads back by itself. The way is the
sealed record of a stored file, which has the identity that every pseudonym was made of.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from gateway.deid.uids import named
from gateway.errors import IntegrityFault
from gateway.model import Pseudonym
from gateway.store.index import Index
from gateway.store.sealed import SealedRecord

TRIED = 8  # files of a patient, where the first are damaged
FILED = """
    SELECT instance.path
    FROM study
    JOIN series ON series.study_uid = study.study_uid
    JOIN instance ON instance.series_uid = series.series_uid
    WHERE study.filed = ?
    ORDER BY instance.path LIMIT ?
"""


class Roots:
    """Remembers what it found: a name leads to one root for ever."""

    def __init__(
        self,
        index: Index,
        store_dir: Path,
        record_of: Callable[[Path], SealedRecord],
        keys: tuple[bytes, ...],
        decided: Callable[[], Mapping[Pseudonym, Pseudonym]],
    ) -> None:
        """Take every version of the pseudonym key, and who a decision named by the first."""
        self._index = index
        self._store_dir = store_dir
        self._record_of = record_of
        self._keys = keys
        self._decided = decided
        self._known: dict[Pseudonym, Pseudonym] = {}

    def of(self, patient: Pseudonym) -> Pseudonym | None:
        """Return the first pseudonym; None where no file and no decision tells it."""
        if len(self._keys) == 1:
            return patient
        if patient not in self._known:
            found = self._filed(patient) or self._decided().get(patient)
            if found is None:
                return None
            self._known[patient] = found
        return self._known[patient]

    def _filed(self, patient: Pseudonym) -> Pseudonym | None:
        for row in self._index.read(FILED, (patient, TRIED)):
            try:
                record = self._record_of(self._store_dir / row["path"])
            except (IntegrityFault, OSError):
                continue
            names = named(record.original, self._keys)
            if names.pseudonym == patient:
                return names.root
        return None
