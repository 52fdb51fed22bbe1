"""Dates moved by a keyed number of days per patient: intervals stay true to the day, times stay."""

import hmac
import re
from datetime import date, timedelta
from hashlib import sha256

FIRST_YEAR = 1900
LAST_YEAR = 2200
# PS3.5 6.2: DA is YYYYMMDD; ACR-NEMA wrote YYYY.MM.DD, and devices write YYYY-MM-DD.
DATE = re.compile(r"(\d{4})([.\-/]?)(\d{2})\2(\d{2})")
DATE_TIME = re.compile(
    r"(?P<date>\d{4}(?:\d{2}(?:\d{2})?)?)(?P<time>(?:\d{2}){0,3}(?:\.\d{1,6})?)(?P<zone>[+-]\d{4})?"
)
TIME = re.compile(r"\d{2}(?::?\d{2}(?::?\d{2}(?:\.\d{1,6})?)?)?")
AGE = re.compile(r"(\d{1,4})\s*([DWMY岁月周天]?)", re.IGNORECASE)
DAYS = {"D": 1.0, "天": 1.0, "W": 7.0, "周": 7.0, "M": 30.4375, "月": 30.4375}
YEAR = 365.25


def shift_days(patient: str, key: bytes, at_most: int) -> int:
    """Return how many days this patient's dates go back: at least one, never forward.

    A patient by the pseudonym of the key's first version: a new one does not move their dates.
    """
    digest = hmac.digest(key, b"shift\0" + patient.encode("utf-8", "surrogateescape"), sha256)
    return 1 + int.from_bytes(digest[:8]) % at_most


def parse_date(text: str) -> date | None:
    """Read a DA as devices write it; None when it is no date, or a placeholder for one."""
    match = DATE.fullmatch(text.strip("\0 "))
    if match is None:
        return None
    try:
        found = date(int(match[1]), int(match[3]), int(match[4]))
    except ValueError:
        return None
    placeholder = found == date(FIRST_YEAR, 1, 1)
    return found if FIRST_YEAR <= found.year <= LAST_YEAR and not placeholder else None


def shift_date(text: str, days: int) -> str:
    """Shift one DA value; empty when it was no date."""
    found = parse_date(text)
    return (found - timedelta(days)).strftime("%Y%m%d") if found else ""


def shift_datetime(text: str, days: int) -> str:
    """Shift the date of one DT value, keep its time, zone and precision (PS3.5 6.2)."""
    match = DATE_TIME.fullmatch(text.strip("\0 "))
    if match is None:
        return shift_date(text, days)
    written = match["date"]
    moved = shift_date(written + "19700701"[len(written) :], days)
    if not moved:
        return ""
    return moved[: len(written)] + match["time"] + (match["zone"] or "")


def kept_time(text: str) -> str:
    """Return a TM as it was, or empty when it was no time."""
    value = text.strip("\0 ")
    return value if TIME.fullmatch(value) else ""


def age_in_years(text: str) -> float | None:
    """Read an AS (PS3.5 6.2), and the bare numbers some devices write."""
    match = AGE.fullmatch(text.strip("\0 "))
    if match is None:
        return None
    return int(match[1]) * DAYS.get(match[2].upper(), YEAR) / YEAR


def capped_age(text: str, at_most: int) -> str:
    """Return an AS no older than `at_most` years; empty when it was no age."""
    years = age_in_years(text)
    if years is None:
        return ""
    if years >= at_most:
        return f"{at_most:03d}Y"
    number, unit = AGE.fullmatch(text.strip("\0 ")).groups()  # type: ignore[union-attr] # it read
    unit = {"岁": "Y", "月": "M", "周": "W", "天": "D", "": "Y"}.get(unit, unit.upper())
    return f"{int(number):03d}{unit}"


def age_between(birth: date, study: date) -> int | None:
    """Return completed years; None when the dates cannot be."""
    if study < birth:
        return None
    return study.year - birth.year - ((study.month, study.day) < (birth.month, birth.day))
