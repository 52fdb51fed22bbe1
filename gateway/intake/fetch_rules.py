"""What a back-fill asks for, and when it may ask: decided here, acted on in fetch.py."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Final, Self

from gateway.errors import ConfigurationFault

DAY: Final = timedelta(days=1)
DAY_SECONDS: Final = 86_400.0
CODE_CHARACTERS_AT_MOST: Final = 16  # PS3.5 6.2, VR CS


class Method(StrEnum):
    AUTO = "auto"  # C-MOVE, and C-GET where the PACS cannot move to us
    MOVE = "move"
    GET = "get"


@dataclass(frozen=True, slots=True)
class FetchQuery:
    """Studies of some days, and of those the series of some modalities."""

    first: date
    last: date
    modalities: frozenset[str] = frozenset()  # empty: all

    @classmethod
    def parse(cls, dates: str, modalities: tuple[str, ...] | list[str] = ()) -> Self:
        """Read `2019-01-01..2019-12-31`, or one day."""
        first, dots, last = dates.partition("..")
        try:
            asked = (date.fromisoformat(first), date.fromisoformat(last if dots else first))
        except ValueError as fault:
            raise ConfigurationFault(
                f"dates are written 2019-01-01..2019-12-31, or one day; not {dates!r}"
            ) from fault
        if asked[0] > asked[1]:
            raise ConfigurationFault(f"the last day of {dates} comes before the first: swap them")
        return cls(*asked, frozenset(map(_code, modalities)))

    @property
    def days(self) -> Iterator[date]:
        for number in range((self.last - self.first).days + 1):
            yield self.first + number * DAY

    @property
    def selection(self) -> str:
        """Name which series of a study are wanted: a study is done for one selection only."""
        return ",".join(sorted(self.modalities))

    def wants(self, modality: str) -> bool:
        return not self.modalities or modality in self.modalities


def _code(modality: str) -> str:
    code = modality.strip().upper()
    if not code.replace("_", "").isalnum() or len(code) > CODE_CHARACTERS_AT_MOST:
        raise ConfigurationFault(f"a modality is a code such as CT or MR, not {modality!r}")
    return code


@dataclass(frozen=True, slots=True)
class Hours:
    """The part of the day in which a PACS has time for us, over midnight where it ends earlier."""

    opens: time
    closes: time

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `19:00-06:30`, in this machine's local time."""
        opens, _, closes = text.partition("-")
        try:
            hours = cls(time.fromisoformat(opens.strip()), time.fromisoformat(closes.strip()))
        except ValueError as fault:
            raise ConfigurationFault(f"hours are written 19:00-06:30, not {text!r}") from fault
        if hours.opens == hours.closes:
            raise ConfigurationFault(f"the hours {text} are empty: leave them out for all day")
        return hours

    @property
    def share(self) -> float:
        """Return how much of a day they are."""
        return ((_seconds(self.closes) - _seconds(self.opens)) % DAY_SECONDS) / DAY_SECONDS

    def seconds_until_open(self, now: datetime) -> float:
        since_open = (_seconds(now.time()) - _seconds(self.opens)) % DAY_SECONDS
        return 0.0 if since_open < self.share * DAY_SECONDS else DAY_SECONDS - since_open


def _seconds(clock: time) -> float:
    return clock.hour * 3600 + clock.minute * 60 + clock.second + clock.microsecond / 1e6


@dataclass(frozen=True, slots=True)
class Pace:
    """How much of the PACS a back-fill may take."""

    studies_per_hour: float | None = None
    hours: Hours | None = None

    @property
    def seconds_per_study(self) -> float:
        return 3600 / self.studies_per_hour if self.studies_per_hour else 0.0

    def seconds_to_wait(self, now: datetime, previous_began: datetime | None) -> float:
        """Return how long the next study must wait; a study that runs is let finish."""
        if self.hours is not None and (closed := self.hours.seconds_until_open(now)):
            return closed
        if previous_began is None:
            return 0.0
        return max(0.0, self.seconds_per_study - (now - previous_began).total_seconds())

    def seconds_left(self, studies: int, seconds_per_study: float) -> float:
        """Estimate the rest from what a study took so far, closed hours included."""
        work = studies * max(seconds_per_study, self.seconds_per_study)
        return work if self.hours is None else work / self.hours.share


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one retrieval ended, by the PACS's own count (PS3.4 C.4.2.1.4, C.4.3.1.4)."""

    status: int
    completed: int  # with and without warnings
    failed: int

    def whole(self, expected: int | None) -> bool:
        """Say whether every instance came; a PACS that sends nothing says "success" too."""
        if self.status not in (SUCCESS, SUB_OPERATIONS_WARNING) or self.failed:
            return False
        return self.completed >= (1 if expected is None else expected)

    @property
    def came_to_nothing(self) -> bool:
        """Say whether this way of retrieving does not work at all."""
        return self.completed == 0 and (self.failed > 0 or self.status != SUCCESS)


SUCCESS: Final = 0x0000
SUB_OPERATIONS_WARNING: Final = 0xB000
OUT_OF_RESOURCES: Final = 0xA700  # C-FIND: too many matches, or too busy (PS3.4 C.4.1.1.4)
MOVE_DESTINATION_UNKNOWN: Final = 0xA801
