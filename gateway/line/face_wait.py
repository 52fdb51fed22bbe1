"""Slices of heads that wait, in the vault, for the rest of their series.

Only what is known of them is kept here, in memory: the vault's entries are the truth, and a gateway
that starts looks at each of them anew.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gateway.line.reference import Waiting
from gateway.model import PseudoUID


@dataclass(frozen=True, slots=True)
class Patience:
    """When a series counts as whole."""

    quiet_seconds: float = 60.0  # since its last slice was received
    at_most_seconds: float = 3600.0  # since its first


class WaitingRoom:
    """Who waits, by entry."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._seats: dict[str, tuple[Waiting, bool]] = {}

    def __contains__(self, entry: str) -> bool:
        return entry in self._seats

    def seat(self, entry: str, waiting: Waiting, *, cleared: bool) -> None:
        self._seats[entry] = (waiting, cleared)

    def leave(self, entry: str) -> None:
        self._seats.pop(entry, None)

    def keep_only(self, entries: Iterable[str]) -> None:
        """Forget those that somebody took out of the vault."""
        here = set(entries)
        for entry in self._seats.keys() - here:
            self.leave(entry)

    def of(self, series: PseudoUID) -> list[tuple[str, bool]]:
        """Return a series' entries, and whether an operator cleared each."""
        return [
            (entry, cleared)
            for entry, (waiting, cleared) in sorted(self._seats.items())
            if waiting.series == series
        ]

    def whole(self, now: float) -> Iterator[PseudoUID]:
        """Name the series of which nothing more is expected, or awaited any longer."""
        received: dict[PseudoUID, list[float]] = {}
        for waiting, _ in self._seats.values():
            received.setdefault(waiting.series, []).append(waiting.received)
        for series, times in received.items():
            quiet = now - max(times) >= self._patience.quiet_seconds
            if quiet or now - min(times) >= self._patience.at_most_seconds:
                yield series
