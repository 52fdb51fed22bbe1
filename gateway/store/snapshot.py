"""When the index is read into columns again, and when the columns that are there will do.

Questions are answered from a snapshot: one a few minutes old is as good as another. What the
hospital decided never waits: a withdrawal, a merge, a rejection or a label that a person gave or
changed is in the next count. A label that came in a stored object waits, as images do.
"""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread

import structlog

from gateway.store.columns import Columns, read_columns
from gateway.store.index import Index

LARGE_SERIES = 20_000  # below this SQL answers within the time columns would save
AGE_SECONDS = 300.0
AGE_OVER_READING = 20.0  # whatever its size, an index is not read for more than 1/20 of the time
LARGEST_ROW = "SELECT coalesce(max(rowid), 0) AS series FROM series"
STATE = "PRAGMA data_version"
DECIDED = """
    SELECT (SELECT count(*) FROM standing) AS standings,
           (SELECT coalesce(sum(withdrawn), 0) FROM standing) AS withdrawn,
           (SELECT group_concat(person, ' ') FROM standing WHERE person <> pseudonym) AS merged,
           (SELECT count(*) FROM rejection) AS rejected,
           (SELECT number FROM label_changes) AS labels
"""

log = structlog.get_logger()


class Snapshot:
    """Holds the newest columns; called, it returns those that may be counted on."""

    def __init__(
        self,
        index: Index,
        index_file: Path,
        large: int = LARGE_SERIES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._index = index
        self._file = index_file
        self._large = large
        self._clock = clock
        self._lock = Lock()
        self._kept = index_file.with_suffix(".columns")
        self._columns: Columns | None = None
        self._state = (-1, "")
        self._read_at = -AGE_SECONDS
        self._took = 0.0
        self._reading: Thread | None = None

    def __call__(self) -> Columns | None:
        """Return the columns; None where the index is small and SQL sees to it."""
        if self._index.read(LARGEST_ROW)[0]["series"] < self._large:
            return None
        with self._lock:
            state = self._now()
            if self._columns is None:
                self._take_up()
            if self._columns is None or state[1] != self._state[1]:
                self._read()
            elif state != self._state and self._is_old():
                self._read_beside()
            return self._columns

    def begin(self) -> None:
        """Read the columns of a large index now, so that the first question need not wait."""
        Thread(target=self, name="index-columns", daemon=True).start()

    def _now(self) -> tuple[int, str]:
        """Return what changes with every commit, and what changes with a decision."""
        (version,) = self._index.read(STATE)[0]
        return int(version), json.dumps(tuple(self._index.read(DECIDED)[0]))

    def _take_up(self) -> None:
        """Go on with the columns of the last run: they do for questions until they are read."""
        if (kept := Columns.load(self._kept)) is not None:
            self._columns, decided = kept
            self._state = (-1, decided)

    def _is_old(self) -> bool:
        return self._clock() - self._read_at > max(AGE_SECONDS, AGE_OVER_READING * self._took)

    def _read(self) -> None:
        state, began = self._now(), self._clock()
        self._have(read_columns(self._file), state, began)

    def _have(self, columns: Columns, state: tuple[int, str], began: float) -> None:
        self._columns, self._state, self._read_at = columns, state, self._clock()
        self._took = self._read_at - began
        log.info("index_read", series=columns.series, seconds=round(self._took, 2))
        with suppress(OSError):  # a full disk: the next start reads the index
            columns.save(self._kept, state[1])

    def _read_beside(self) -> None:
        """Read anew while those who ask now are answered from what is there."""
        if self._reading is None or not self._reading.is_alive():
            self._reading = Thread(target=self._renew, name="index-columns", daemon=True)
            self._reading.start()

    def _renew(self) -> None:
        state, began = self._now(), self._clock()
        columns = read_columns(self._file)
        with self._lock:
            if state[1] == self._now()[1]:  # nothing was decided meanwhile
                self._have(columns, state, began)
