"""What a back-fill says of itself, on its way and at its end: numbers only."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Protocol


class Phase(StrEnum):
    LISTING = "listing"
    FETCHING = "fetching"
    WAITING = "waiting"  # for the allowed hours, the rate, or a PACS that went away


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """How far it is; numbers only."""

    phase: Phase = Phase.LISTING
    days: int = 0
    days_listed: int = 0
    studies: int = 0
    fetched: int = 0
    already_here: int = 0
    without: int = 0  # nothing in them was asked for
    failed: int = 0
    instances: int = 0
    seconds_left: float | None = None  # None: not known yet


@dataclass(frozen=True, slots=True)
class FetchReport:
    studies: int
    fetched: int
    already_here: int
    without: int  # nothing in them was asked for: not every PACS can search by modality
    failed: int
    instances: int
    series_moved: int
    series_got: int
    days_not_listed: tuple[date, ...]  # the PACS refused the query
    seconds: float
    stopped: str = ""  # why the rest was not tried; the same command goes on

    @property
    def complete(self) -> bool:
        return not (self.failed or self.days_not_listed or self.stopped)


class Progress(Protocol):
    def __call__(self, progress: FetchProgress, /) -> None: ...
