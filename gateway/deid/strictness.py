"""Which of two profiles leaves less: only then can what is stored be brought to the other one."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from itertools import chain

from pydicom.datadict import dictionary_VR, keyword_for_tag

from gateway.deid import actions
from gateway.deid.profile import Options, Profile
from gateway.deid.rules import DATES, TEXT, Action, Decision, Rulebook
from gateway.deid.tables import OPTIONS

PSEUDONYMS = frozenset({actions.PATIENT_ID, actions.PATIENT_NAME, actions.ACCESSION})
SHOWN = 5  # differences named in a sentence
# What `attributes`, the tables and these decide is compared attribute by attribute.
BY_ATTRIBUTE = frozenset(OPTIONS)
COMPARED = frozenset(
    {
        "name",
        "description",
        "options",
        "narrative",
        "age_at_most",
        "shift_days_at_most",
        "attributes",
    }
)


class Left(IntEnum):
    """How much of an original value an action leaves."""

    NOTHING = 0
    PSEUDONYM = 1  # the same original, the same replacement
    CLEANED = 2
    TRUE = 3


class Relation(StrEnum):
    SAME = "same"
    STRICTER = "stricter"  # what is stored can be brought to it
    LOOSER = "looser"  # or neither: what it keeps is not in the store


@dataclass(frozen=True, slots=True)
class Compared:
    relation: Relation
    why: tuple[str, ...] = ()  # what the new profile needs and the store has not


def information(action: Action, tag: int, vr: str) -> Left:
    """Say how much of an original value an action leaves, as `actions` carries it out."""
    if vr == "SQ":  # what its items keep is asked one by one
        return Left.NOTHING if action in (Action.REMOVE, Action.ZERO) else Left.PSEUDONYM
    if action is Action.UID or (action is Action.DUMMY and (vr == "UI" or tag in PSEUDONYMS)):
        return Left.PSEUDONYM
    if action is Action.KEEP:
        return Left.TRUE
    if action is not Action.CLEAN:
        return Left.NOTHING
    if vr in ("CS", "TM"):  # kept where it reads as a code; times of day are not shifted
        return Left.TRUE
    return Left.CLEANED if vr in TEXT | DATES | {"AE"} else Left.NOTHING


def compare(old: Profile, new: Profile) -> Compared:
    """Compare what two profiles leave, attribute by attribute in every IOD and sequence."""
    if old.digest == new.digest:
        return Compared(Relation.SAME)
    why = [*_wishes(old, new), *_attributes(old, new)]
    if why:
        shown = tuple(dict.fromkeys(why))
        rest = (f"and {len(shown) - SHOWN} more",) if len(shown) > SHOWN else ()
        return Compared(Relation.LOOSER, shown[:SHOWN] + rest)
    return Compared(Relation.STRICTER)


def _wishes(old: Profile, new: Profile) -> Iterator[str]:
    """Name settings that no attribute tells of."""
    if new.age_at_most > old.age_at_most:
        yield "`age_at_most` is higher"
    for field in sorted(set(Profile.model_fields) - COMPARED):
        if getattr(old, field) != getattr(new, field):
            yield f"`{field}` differs"
    for field in sorted(set(Options.model_fields) - BY_ATTRIBUTE):
        if getattr(old.options, field) != getattr(new.options, field):
            yield f"`options.{field}` differs"


def _attributes(old: Profile, new: Profile) -> Iterator[str]:
    before, after = Rulebook(old), Rulebook(new)
    for iod, sequence, tag in _places(new):
        vr = dictionary_VR(tag).split(" or ")[0]
        was = before.decide(iod, sequence, tag, vr)
        will = after.decide(iod, sequence, tag, vr)
        if not _can_become(tag, was, will):
            yield keyword_for_tag(tag)
    for group, creator, number in new.tables.private or {}:
        tag = group << 16 | 0x1000 | number
        was = before.decide("", None, tag, None, creator)
        will = after.decide("", None, tag, None, creator)
        if not _can_become(tag, was, will):
            yield f"({group:04X},xx{number:02X}) of {creator}"


def _can_become(tag: int, was: Decision, will: Decision) -> bool:
    here, there = (information(one.action, tag, one.vr) for one in (was, will))
    # An accession number that was cleaned as text is gone, and its pseudonym with it.
    lost = tag in PSEUDONYMS and here is Left.CLEANED and there is Left.PSEUDONYM
    return there <= here and not lost


def _places(profile: Profile) -> Iterator[tuple[str, int | None, int]]:
    """Name one place for each attribute and type: nothing else of a place decides."""
    iods = profile.tables.iods
    names = iods.names()
    met: set[tuple[int, str]] = set()
    places = chain(
        ((iod, None, iods.root(iod)) for iod in names),
        ((names[0], sequence, iods.items(sequence)) for sequence in iods.sequences()),
    )
    for iod, sequence, types in places:
        for pair in types.items():
            if pair not in met:
                met.add(pair)
                yield iod, sequence, pair[0]
