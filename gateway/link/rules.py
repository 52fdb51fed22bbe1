"""The link's decisions: how long to wait, whose clock is wrong, what to say when it fails."""

from collections.abc import Callable, Sequence

SMALLEST_CHUNK, FIRST_CHUNK, LARGEST_CHUNK = 16 << 10, 64 << 10, 1 << 20
CHUNK_SECONDS = 0.05
FIRST_STRETCH, LARGEST_STRETCH = 256 << 10, 64 << 20
STRETCH_SECONDS = 2.0
GROWTH = 4  # a link that was cut once may be cut again: what it carried is believed slowly
RESEND_SECONDS = 60.0  # an unsettled report is repeated on a living stream after this
FIRST_DELAY_SECONDS = 0.5
DOUBLINGS = 12


def delay(failures: int, at_most: float, draw: Callable[[float, float], float]) -> float:
    """Return how long to back off: doubling, capped, and never in step with other gateways."""
    ceiling = min(at_most, FIRST_DELAY_SECONDS * 2 ** min(max(failures - 1, 0), DOUBLINGS))
    return draw(ceiling / 2, ceiling)


def chunk_for(bytes_per_second: float) -> int:
    """Return how large one chunk is to be: what is cut on its way comes again, so a moment's."""
    return int(min(max(bytes_per_second * CHUNK_SECONDS, SMALLEST_CHUNK), LARGEST_CHUNK))


def stretch_for(bytes_per_second: float, before: int) -> int:
    """Return how much goes before somebody says that it is there: some seconds' worth."""
    wanted = max(bytes_per_second * STRETCH_SECONDS, FIRST_STRETCH)
    return int(min(wanted, GROWTH * before, LARGEST_STRETCH))


def skew_fault(skew_seconds: float, at_most: float) -> str | None:
    """Say what is wrong when the two clocks differ too much; None when they agree."""
    if abs(skew_seconds) <= at_most:
        return None
    direction = "behind" if skew_seconds > 0 else "ahead of"
    return (
        f"this machine's clock is {abs(skew_seconds):.0f} s {direction} the coordinator's "
        f"(allowed: {at_most:.0f} s): set it by NTP"
    )


def version_fault(chosen: int, spoken: Sequence[int]) -> str | None:
    if chosen in spoken:
        return None
    return (
        f"the coordinator wants protocol version {chosen}; this gateway speaks "
        f"{', '.join(map(str, spoken))}: upgrade the older of the two"
    )
