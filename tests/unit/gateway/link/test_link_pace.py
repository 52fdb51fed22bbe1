from datetime import UTC, datetime, time

import pytest
from pydantic import ValidationError

from gateway.config import Federation
from gateway.link.pace import Pace, falls_within, hours_of


class Waited:
    """A stop that never comes; it keeps how long it was waited for, and moves the clock."""

    def __init__(self):
        self.at = 100.0

    def wait(self, seconds):
        self.at += max(0.0, seconds)

    def clock(self):
        return self.at


@pytest.mark.parametrize(
    ("hours", "inside", "outside"),
    [
        ("20:00-06:00", (20, 23, 0, 5), (6, 12, 19)),
        ("08:00-17:30", (8, 12, 17), (18, 0, 7)),
        ("00:00-00:00", (0, 12, 23), ()),
    ],
)
def test_hours_may_go_over_midnight(hours, inside, outside):
    assert all(falls_within(time(hour), hours_of(hours)) for hour in inside)
    assert not any(falls_within(time(hour), hours_of(hours)) for hour in outside)
    assert hours_of(None) is None


@pytest.mark.parametrize("said", ["20-06", "24:00-06:00", "20:00", "20:60-06:00", "8:00-9:00"])
def test_hours_that_are_none_are_refused_at_start(said):
    with pytest.raises(ValidationError):
        Federation(bulk_hours=said)


def test_no_second_carries_more_than_it_may_and_a_quiet_hour_saves_nothing():
    stop = Waited()
    pace = Pace(1000, None, lambda: datetime.now(UTC), stop.clock)

    for _ in range(10):
        pace.spend(500, stop)
    assert stop.at == pytest.approx(105.0)
    stop.at += 3600
    pace.spend(2000, stop)
    assert stop.at == pytest.approx(105.0 + 3600 + 2)


def test_without_a_limit_nobody_waits():
    stop = Waited()

    Pace(0, None, lambda: datetime.now(UTC), stop.clock).spend(1 << 30, stop)

    assert stop.at == 100.0
