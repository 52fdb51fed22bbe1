"""Where the coordinator may be: the address it was enrolled at, then those of its standbys."""

from collections.abc import Sequence
from dataclasses import replace

from gateway.link.credentials import Credentials

# A standby leads within seconds: with one there, no gateway backs off for longer than this.
BACK_OFF_AT_MOST = 8.0


def places(credentials: Credentials, standbys: Sequence[str]) -> list[Credentials]:
    """Return the same identity for each address; whoever answers must lead to the same root."""
    addresses = dict.fromkeys((credentials.address, *standbys))
    return [replace(credentials, address=address) for address in addresses]


class Places:
    """Which of the addresses is in use; the one that leads is found by trying them in turn."""

    def __init__(self, standbys: Sequence[str]) -> None:
        self._standbys = tuple(standbys)
        self._index = 0

    def here(self, credentials: Credentials) -> Credentials:
        every = places(credentials, self._standbys)
        return every[self._index % len(every)]

    def move_on(self, credentials: Credentials) -> bool:
        """Go to the next address; say whether all were tried, so that it is time to back off."""
        self._index = (self._index + 1) % len(places(credentials, self._standbys))
        return self._index == 0

    def patience(self, at_most: float) -> float:
        return min(at_most, BACK_OFF_AT_MOST) if self._standbys else at_most
