"""The one round that runs, and whether it may go on: stopped with its job, or with the gateway."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread

from gateway.desk.book import Book, TaskRow
from gateway.desk.rules import JobStage

WATCH_SECONDS = 0.5  # a withdrawal stops a running job this soon


class Watching:
    def __init__(self, book: Book) -> None:
        self._book = book
        self._lock = Lock()
        self._current: tuple[str, Event] | None = None

    def cancel(self, job_id: str) -> None:
        """Stop the job's round if it is the one that runs."""
        with self._lock:
            if self._current is not None and self._current[0] == job_id:
                self._current[1].set()

    def is_superseded(self, row: TaskRow) -> bool:
        """Say whether a later round is here: the coordinator opens none before this one is over."""
        return any(other.round > row.round for other in self._book.tasks_of(row.job_id))

    @contextmanager
    def over(self, row: TaskRow, stop: Event) -> Iterator[Event]:
        """Yield the event that stops the sandbox: the job, the round or the gateway ends."""
        cancelled, ended = Event(), Event()

        def watch() -> None:
            while not ended.wait(WATCH_SECONDS):
                job = self._book.job(row.job_id)
                over = job is None or job.stage is not JobStage.APPROVED
                if stop.is_set() or over or self.is_superseded(row):
                    cancelled.set()

        with self._lock:
            self._current = (row.job_id, cancelled)
        watcher = Thread(target=watch, name="desk-watch", daemon=True)
        watcher.start()
        try:
            yield cancelled
        finally:
            ended.set()
            watcher.join()
            with self._lock:
                self._current = None
