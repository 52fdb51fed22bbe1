"""How slow a peer may be: decided from times that are handed in."""

from typing import Final

WINDOW_SECONDS: Final = 60.0
LEAST_BYTES_PER_WINDOW: Final = 60 << 10  # 1 KiB/s: the slowest line a hospital still has is faster


class Pace:
    """Follows one connection, so that holding a place here costs an attacker bandwidth.

    Until the association is asked for, one deadline counts. Afterwards a sender may pause for
    `idle_seconds` between messages, but inside one it has to keep sending: bytes that
    trickle do not count as life.
    """

    def __init__(self, now: float, first_pdu_seconds: float, idle_seconds: float) -> None:
        self._idle_seconds = idle_seconds
        self._deadline = now + first_pdu_seconds
        self._window_bytes = 0
        self._in_message = False

    def between_messages(self, now: float) -> None:
        """Start the pause that follows an association's beginning or a message's end."""
        self._in_message = False
        self._deadline = now + self._idle_seconds

    def in_message(self, now: float, received: int) -> None:
        """Count bytes of a message that is not complete yet."""
        if not self._in_message:
            self._in_message, self._window_bytes = True, 0
            self._deadline = now + WINDOW_SECONDS
        self._window_bytes += received
        if now >= self._deadline and self._window_bytes >= LEAST_BYTES_PER_WINDOW:
            self._window_bytes = 0
            self._deadline = now + WINDOW_SECONDS

    def too_slow(self, now: float) -> bool:
        return now >= self._deadline
