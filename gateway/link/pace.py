"""How fast and at which hours models move: a hospital's line is for its patients first."""

from collections.abc import Callable
from datetime import datetime, time
from threading import Event
from time import monotonic

Hours = tuple[time, time]  # from, to; over midnight where the first is the later


class Pace:
    """Bytes a second, and hours of the hospital's own clock; the control stream knows neither."""

    def __init__(
        self,
        bytes_per_second: int,
        hours: Hours | None,
        now: Callable[[], datetime],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._rate = bytes_per_second
        self._hours = hours
        self._now = now
        self._clock = clock
        self._free_at = 0.0

    def is_open(self) -> bool:
        """Say whether this is an hour at which models may move."""
        return self._hours is None or falls_within(self._now().astimezone().time(), self._hours)

    def spend(self, count: int, stop: Event) -> None:
        """Wait until so many bytes, which have just gone, were no faster than they may be.

        What was not used earlier is not saved up: after a quiet hour there is no burst.
        """
        if self._rate:
            now = self._clock()
            self._free_at = max(self._free_at, now) + count / self._rate
            stop.wait(self._free_at - now)


def falls_within(moment: time, hours: Hours) -> bool:
    begin, end = hours
    return begin <= moment < end if begin < end else moment >= begin or moment < end


def hours_of(text: str | None) -> Hours | None:
    """Read `20:00-06:00`."""
    if text is None:
        return None
    begin, _, end = text.partition("-")
    return time.fromisoformat(begin), time.fromisoformat(end)
