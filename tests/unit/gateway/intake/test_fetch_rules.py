from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigurationFault
from gateway.intake.fetch_rules import FetchQuery, Hours, Outcome, Pace

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def test_a_year_has_its_days_from_first_to_last():
    query = FetchQuery.parse("2019-01-01..2019-12-31", ["ct"])

    days = list(query.days)

    assert (len(days), days[0], days[-1]) == (365, date(2019, 1, 1), date(2019, 12, 31))
    assert query.wants("CT")
    assert not query.wants("MR")


def test_one_day_stands_for_itself_and_no_modality_for_all():
    query = FetchQuery.parse("2019-02-03")

    assert list(query.days) == [date(2019, 2, 3)]
    assert query.wants("PT")


@pytest.mark.parametrize("dates", ["2019", "2019-02-30", "2019-01-01..", "..2019-01-01", "x..y"])
def test_what_is_no_date_is_refused(dates):
    with pytest.raises(ConfigurationFault, match="dates are written"):
        FetchQuery.parse(dates)


def test_days_that_run_backwards_are_refused():
    with pytest.raises(ConfigurationFault, match="swap"):
        FetchQuery.parse("2019-02-01..2019-01-01")


@pytest.mark.parametrize("code", ["", "C*", "CT\\MR", "A" * 17])
def test_a_modality_holds_no_wildcard(code):
    with pytest.raises(ConfigurationFault, match="modality"):
        FetchQuery.parse("2019-01-01", [code])


@pytest.mark.parametrize(
    ("clock", "hours_to_wait"), [((19, 0), 0), ((23, 30), 0), ((3, 0), 0), ((6, 30), 12.5)]
)
def test_hours_may_run_over_midnight(clock, hours_to_wait):
    hours = Hours.parse("19:00-06:30")

    wait = hours.seconds_until_open(NOON.replace(hour=clock[0], minute=clock[1]))

    assert wait == hours_to_wait * 3600


@pytest.mark.parametrize("text", ["19:00", "19-", "25:00-26:00", "07:00-07:00"])
def test_what_are_no_hours_is_refused(text):
    with pytest.raises(ConfigurationFault, match="hours"):
        Hours.parse(text)


@given(st.datetimes(timezones=st.just(UTC)), st.times(), st.times())
def test_after_the_wait_the_hours_are_open(now, opens, closes):
    if opens == closes:
        return
    hours = Hours(opens, closes)

    wait = hours.seconds_until_open(now)

    assert 0 <= wait < 86_400
    if now.year < 9999:
        later = now + timedelta(seconds=wait + 1e-3)
        narrow = hours.share * 86_400 < 1
        assert narrow or hours.seconds_until_open(later) == 0 or wait == 0


def test_the_rate_counts_from_the_start_of_the_study_before():
    pace = Pace(studies_per_hour=60)

    assert pace.seconds_to_wait(NOON, None) == 0
    assert pace.seconds_to_wait(NOON + timedelta(seconds=20), NOON) == 40
    assert pace.seconds_to_wait(NOON + timedelta(seconds=90), NOON) == 0


def test_the_estimate_knows_the_rate_and_the_closed_hours():
    assert Pace().seconds_left(100, 2.0) == 200
    assert Pace(studies_per_hour=360).seconds_left(100, 2.0) == 1000
    assert Pace(hours=Hours.parse("18:00-06:00")).seconds_left(100, 2.0) == 400


@pytest.mark.parametrize(
    ("outcome", "expected", "whole"),
    [
        (Outcome(0x0000, 3, 0), 3, True),
        (Outcome(0x0000, 3, 0), None, True),
        (Outcome(0x0000, 0, 0), 0, True),
        (Outcome(0xB000, 3, 0), 3, True),
        (Outcome(0x0000, 0, 0), None, False),
        (Outcome(0x0000, 2, 0), 3, False),
        (Outcome(0xB000, 2, 1), 3, False),
        (Outcome(0xA702, 3, 0), 3, False),
    ],
)
def test_a_series_is_whole_when_every_instance_came(outcome, expected, whole):
    assert outcome.whole(expected) is whole


def test_only_a_retrieval_without_any_instance_came_to_nothing():
    assert Outcome(0xA801, 0, 0).came_to_nothing
    assert Outcome(0xB000, 0, 4).came_to_nothing
    assert not Outcome(0xB000, 1, 3).came_to_nothing
    assert not Outcome(0x0000, 0, 0).came_to_nothing
