from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.deid import dates, uids

DAYS = st.dates(date(1901, 1, 2), date(2199, 12, 31))
SHIFTS = st.integers(1, 3650)


@given(DAYS, DAYS, SHIFTS)
def test_intervals_stay_true_to_the_day(first, second, shift):
    moved = [dates.shift_date(day.strftime("%Y%m%d"), shift) for day in (first, second)]
    there = [date(int(text[:4]), int(text[4:6]), int(text[6:])) for text in moved]

    assert there[1] - there[0] == second - first


@given(DAYS, SHIFTS)
def test_a_datetime_keeps_its_time_and_zone(day, shift):
    moved = dates.shift_datetime(f"{day:%Y%m%d}131415.123+0800", shift)

    assert moved == f"{day - timedelta(shift):%Y%m%d}131415.123+0800"


@pytest.mark.parametrize("text", ["", "00000000", "19000101", "2021-02-30", "today", "20211301"])
def test_what_is_no_date_leaves_nothing(text):
    assert dates.shift_date(text, 10) == ""


def test_partial_datetimes_keep_their_precision():
    assert len(dates.shift_datetime("2021", 400)) == 4
    assert len(dates.shift_datetime("202103", 40)) == 6


@given(st.text(max_size=30), SHIFTS)
def test_any_text_can_be_shifted(text, shift):
    for value in (dates.shift_date(text, shift), dates.shift_datetime(text, shift)):
        assert value == "" or value[:4].isdigit()
    assert dates.kept_time(text) in ("", text.strip("\0 "))


@pytest.mark.parametrize(
    ("written", "kept"),
    [("045Y", "045Y"), ("089Y", "089Y"), ("090Y", "089Y"), ("101Y", "089Y"), ("1200M", "089Y"),
     ("006M", "006M"), ("45", "045Y"), ("45岁", "045Y"), ("old", "")],
)  # fmt: skip
def test_ages_are_capped(written, kept):
    assert dates.capped_age(written, 89) == kept


def test_a_shift_is_the_same_tomorrow_and_another_for_another_patient():
    key = bytes(32)

    shifts = {dates.shift_days(f"P{n}", key, 3650) for n in range(200)}

    assert dates.shift_days("P1", key, 3650) == dates.shift_days("P1", key, 3650)
    assert len(shifts) > 150
    assert min(shifts) >= 1


@pytest.mark.parametrize(
    "nobody",
    ["", " ", "0", "0000", "UNKNOWN", "unknown ", "N/A", "------", "xxxx", "无名氏", "12345"],
)
def test_placeholder_ids_are_nobody(nobody):
    assert uids.is_placeholder(nobody)


@pytest.mark.parametrize("somebody", ["A123", "00012345", "2021000123", "PAT-001", "张三001"])
def test_other_ids_are_somebody(somebody):
    assert not uids.is_placeholder(somebody)


def test_a_patient_is_an_issuer_and_a_canonical_id():
    key = bytes(32)

    assert uids.pseudonym(" ab 12", "HIS", key) == uids.pseudonym("ＡＢ１２", "his", key)
    assert uids.pseudonym("AB12", "HIS", key) != uids.pseudonym("AB12", "RIS", key)
    assert uids.pseudonym("AB12", "HIS", key) != uids.pseudonym("AB12", "HIS", bytes(31) + b"1")


@given(st.text(max_size=80))
def test_a_pseudo_uid_is_a_uid(anything):
    uid = uids.pseudo_uid(anything, bytes(32))

    assert uid.startswith("2.25.")
    assert len(uid) <= 64
    assert uid[5:].isdigit()
