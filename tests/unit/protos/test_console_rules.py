"""The console's own rules: lock-out, the ends of sessions, passwords, where a login returns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.pages.inert import inert
from protos.pages.proofs import PasswordHash, code_at, new_secret, step_of
from protos.pages.rules import (
    IDLE_SECONDS,
    LOCK_SECONDS,
    LONGEST_SECONDS,
    Age,
    is_locked,
    is_name,
    is_over,
    password_fault,
    way_back,
)


@pytest.mark.parametrize(
    ("age", "over"),
    [
        (Age(0, 0), False),
        (Age(LONGEST_SECONDS, IDLE_SECONDS), False),
        (Age(LONGEST_SECONDS + 1, 0), True),
        (Age(60, IDLE_SECONDS + 1), True),
    ],
)
def test_a_session_ends_after_a_day_of_work_and_after_a_pause(age, over):
    assert is_over(age) is over


def test_five_failures_lock_for_a_quarter_of_an_hour():
    failures = [1000.0 + number for number in range(5)]

    assert not is_locked(failures[:4], 1010.0, 5)
    assert is_locked(failures, 1010.0, 5)
    assert not is_locked(failures, 1000.0 + LOCK_SECONDS, 5)


@pytest.mark.parametrize(
    "path",
    ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "", "a",
     "/\n/evil.example", "/\u202eevil"],
)  # fmt: skip
def test_a_login_never_leads_to_another_host(path):
    assert way_back(path) == "/"


def test_a_login_returns_to_the_page_that_was_asked():
    assert way_back("/approvals/job1?x=1") == "/approvals/job1?x=1"


@pytest.mark.parametrize("name", ["", " li", "li\n", "l\u202ei", "x" * 65, "a\x00"])
def test_a_name_that_would_trick_the_trail_is_none(name):
    assert not is_name(name)


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaaaaaa", "li-wei-li-wei-x", "x" * 300])
def test_a_password_that_is_guessed_is_refused(password):
    assert password_fault(password, password, "li-wei") is not None


def test_a_password_fits_itself_alone():
    held = PasswordHash.of("correct horse battery")

    assert held.fits("correct horse battery")
    assert not held.fits("correct horse batterz")
    assert held.salt != PasswordHash.of("correct horse battery").salt


def test_a_code_counts_once_and_a_minute_at_most():
    secret, now = new_secret(), 1_800_000_000.0
    code = code_at(secret, now)

    step = step_of(secret, code, now, 0)

    assert step == int(now) // 30
    assert step_of(secret, code, now, step) is None
    assert step_of(secret, code, now + 20, 0) is not None
    assert step_of(secret, code, now + 90, 0) is None
    assert step_of(secret, "é" * 6, now, 0) is None


@given(st.text(max_size=60))
def test_whatever_others_wrote_is_visible(text):
    shown = inert(text)

    assert all(one.isprintable() or one in "\n\t" for one in shown)
    assert text.isprintable() <= (shown == text)
