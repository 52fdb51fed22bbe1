import pytest

from coordinator.errors import TooFast
from coordinator.link import pace
from coordinator.link.pace import Pace


def test_a_burst_passes_and_a_flood_waits_and_is_then_refused():
    bucket = Pace(per_second=10, burst=5)

    waits = [bucket.wait("alpha", 0.0) for _ in range(20)]

    assert waits[:5] == [0.0] * 5
    assert waits == sorted(waits)
    assert waits[-1] <= pace.PATIENCE_SECONDS
    bucket.wait("alpha", 0.0)
    with pytest.raises(TooFast, match="slow down"):
        [bucket.wait("alpha", 0.0) for _ in range(20)]


def test_a_flood_of_one_caller_holds_up_no_other():
    bucket = Pace(per_second=1, burst=1)
    bucket.wait("alpha", 0.0)

    assert bucket.wait("alpha", 0.0) > 0
    assert bucket.wait("beta", 0.0) == 0


def test_time_gives_back_what_a_caller_took_and_no_more():
    bucket = Pace(per_second=10, burst=5)
    for _ in range(5):
        bucket.wait("alpha", 0.0)

    assert bucket.wait("alpha", 1000.0) == 0
    assert [bucket.wait("alpha", 1000.0) for _ in range(4)] == [0.0] * 4
    assert bucket.wait("alpha", 1000.0) > 0
    assert bucket.wait("alpha", 999.0) > 0  # a clock that steps back gives nothing


def test_callers_that_came_once_are_forgotten(monkeypatch):
    monkeypatch.setattr(pace, "CALLERS_AT_MOST", 10)
    bucket = Pace(per_second=10, burst=5)

    for number in range(100):
        bucket.wait(f"caller-{number}", float(number))

    assert len(bucket._buckets) <= 11
