"""An idle gateway keeps one receiver: the others leave when nothing comes, and come with the next.

A receiver that leaves accepts nobody more, serves whom it has to the end, and ends; two of them are
half of what an idle gateway has in memory. What counts is instances: a PACS that echoes each minute
keeps nobody here.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

from gateway.app.process import read_state
from gateway.config import GatewayConfig
from gateway.intake.request import OnEvent

QUIET_SECONDS: Final = 900.0
INSTANCE: Final = "instance_"  # how each event of an instance that came begins


class Quiet:
    """Passes events on, and knows for how long no instance has come."""

    def __init__(self, passed_to: OnEvent, clock: Callable[[], float] = time.monotonic) -> None:
        self._passed_to = passed_to
        self._clock = clock
        self._lock = threading.Lock()
        self._last = clock()

    def hear(self, event: str, /, **facts: object) -> None:
        if event.startswith(INSTANCE):
            with self._lock:
                self._last = self._clock()
        self._passed_to(event, **facts)

    def has_lasted(self, seconds: float) -> bool:
        with self._lock:
            return self._clock() - self._last >= seconds


def instances_of_first(config: GatewayConfig) -> int:
    """Return how many instances came to the receiver that always stays, since it started."""
    counted = read_state(config.run_dir / "intake-0.json")
    return sum(n for event, n in counted.items() if event.startswith(INSTANCE))
