"""A fact that takes long to find out: found out beside the pages, and shown as of a moment ago."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import structlog

log = structlog.get_logger()

T = TypeVar("T")

AT_LEAST_SECONDS = 2.0
SHARE = 20  # finding out takes at most a twentieth of the time


class Lately(Generic[T]):
    """Whoever asks is answered at once, but the first; what is old is found out again meanwhile."""

    def __init__(self, find: Callable[[], T], clock: Callable[[], float] = time.monotonic) -> None:
        self._find = find
        self._clock = clock
        self._lock = threading.Lock()
        self._known: tuple[T, float, float] | None = None  # what, found when, taking how long
        self._finding = False

    def __call__(self) -> T:
        known = self._known
        if known is None:
            return self._look()
        fact, at, took = known
        if self._clock() - at > max(AT_LEAST_SECONDS, SHARE * took):
            with self._lock:
                begins, self._finding = not self._finding, True
            if begins:
                threading.Thread(target=self._look_again, name="lately", daemon=True).start()
        return fact

    def _look(self) -> T:
        began = self._clock()
        fact = self._find()
        self._known = (fact, self._clock(), self._clock() - began)
        return fact

    def _look_again(self) -> None:
        try:
            self._look()
        except Exception as fault:  # noqa: BLE001 - what was known stands; it is tried again
            log.error("fact_not_found", fault=type(fault).__name__)  # noqa: TRY400 - no values in a log
        finally:
            self._finding = False
