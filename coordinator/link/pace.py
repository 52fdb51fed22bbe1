"""How fast one caller may be: a bucket for each, so that nobody's flood is everybody's wait."""

from dataclasses import dataclass

from coordinator.errors import TooFast

PER_SECOND = 50.0
BURST = 1000.0  # a hospital that was away for a week hands in what it has
PATIENCE_SECONDS = 2.0  # what is longer is refused, and not held in memory
CALLERS_AT_MOST = 10_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Pace:
    """Tells how long a caller's next message waits; TooFast where that is too long."""

    def __init__(self, per_second: float = PER_SECOND, burst: float = BURST) -> None:
        self._per_second = per_second
        self._burst = burst
        self._buckets: dict[str, _Bucket] = {}

    def wait(self, caller: str, now: float) -> float:
        """Take one message's worth; a clock that steps back takes nothing and gives nothing."""
        bucket = self._buckets.get(caller)
        if bucket is None:
            self._make_room(now)
            bucket = self._buckets[caller] = _Bucket(self._burst, now)
        passed = max(0.0, now - bucket.at)
        bucket.tokens = min(self._burst, bucket.tokens + passed * self._per_second)
        bucket.at = now
        wait = (1.0 - bucket.tokens) / self._per_second
        if wait > PATIENCE_SECONDS:
            raise TooFast(f"more than {self._per_second:g} messages a second: slow down")
        bucket.tokens -= 1.0
        return max(0.0, wait)

    def _make_room(self, now: float) -> None:
        """Forget callers whose bucket is full again: they start as strangers do."""
        if len(self._buckets) < CALLERS_AT_MOST:
            return
        full = self._burst / self._per_second
        self._buckets = {n: b for n, b in self._buckets.items() if now - b.at < full}
