"""What an instance may truthfully say was done to it (PS3.15 E.1.1, PS3.3 C.12.1.1.7)."""

from collections.abc import Iterator, Sequence
from functools import cache

from pydicom.datadict import dictionary_VR, keyword_for_tag

from gateway.deid.profile import Profile
from gateway.deid.rules import DATES, Action, Rulebook
from gateway.deid.strictness import information

LONGEST_VALUE = 64  # characters, VR LO (PS3.5 6.2)
# Any of these is within the letter of what Z asks for (PS3.15 Table E.1-1a).
WITHIN = {Action.ZERO: frozenset({Action.DUMMY})}


@cache
def exceptions(profile: Profile) -> tuple[str, ...]:
    """Name the attributes this profile leaves more of than its base and options would."""
    rules = Rulebook(profile)
    return tuple(
        f"{keyword_for_tag(tag)} {override.action}"
        for tag, override in sorted(profile.overrides.items())
        if _is_looser(profile, rules, tag, Action(override.action))
    )


def method(found: Sequence[str]) -> Iterator[str]:
    """Spell exceptions as values of (0012,0063), as many in one as it holds."""
    line = ""
    for one in found:
        longer = f"{line}, {one}" if line else f"except {one}"
        if line and len(longer) > LONGEST_VALUE:
            yield line
            longer = f"except {one}"
        line = longer[:LONGEST_VALUE]
    if line:
        yield line


def dates(profile: Profile) -> str:
    """Return the value of (0028,0303)."""
    options = profile.options
    if options.retain_longitudinal_full_dates:
        return "UNMODIFIED"
    shifted = any(
        override.action == "C" and dictionary_VR(tag) in DATES
        for tag, override in profile.overrides.items()
    )
    return "MODIFIED" if options.retain_longitudinal_modified_dates or shifted else "REMOVED"


def _is_looser(profile: Profile, rules: Rulebook, tag: int, action: Action) -> bool:
    row = profile.tables.profile.get(tag)
    offered = set() if row is None else {Action(part.rstrip("*")) for part in row.basic.split("/")}
    vr = dictionary_VR(tag).split(" or ")[0]
    usual = {rules.without_overrides(tag, vr, of_type) for of_type in ("1", "2", "3")}
    allowed = offered | usual
    allowed |= {also for one in allowed for also in WITHIN.get(one, ())}
    most = max(information(one, tag, vr) for one in usual)
    return action not in allowed and information(action, tag, vr) > most
