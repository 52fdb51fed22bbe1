"""Who counts as one person, and who has withdrawn: decisions in, the standing of each out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from gateway.errors import ConfigurationFault
from gateway.model import Pseudonym


class Kind(StrEnum):
    MERGED = "merged"  # `pseudonym` counts as `other` from now on
    SEPARATED = "separated"  # `pseudonym` is a person of its own again
    WITHDRAWN = "withdrawn"  # in no question and no cohort
    READMITTED = "readmitted"


@dataclass(frozen=True, slots=True)
class Decision:
    kind: Kind
    pseudonym: Pseudonym
    other: Pseudonym | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    person: Pseudonym  # whom this pseudonym counts as
    withdrawn: bool


class Refused(ConfigurationFault):
    """The decision contradicts those before it."""


def standings(decisions: Iterable[Decision]) -> Mapping[Pseudonym, Standing]:
    """Replay decisions; pseudonyms nobody decided about stand for themselves."""
    house = _Persons()
    for decision in decisions:
        house.take(decision)
    return {
        pseudonym: Standing(house.person(pseudonym), house.is_withdrawn(pseudonym))
        for pseudonym in house.known
    }


def check(decided: Iterable[Decision], new: Decision) -> bool:
    """Say whether a decision changes anything; Refused when it cannot be taken."""
    house = _Persons()
    for decision in decided:
        house.take(decision)
    return house.take(new)


class _Persons:
    """A forest of merges, and marks on those who withdrew."""

    def __init__(self) -> None:
        self.known: dict[Pseudonym, None] = {}
        self._into: dict[Pseudonym, Pseudonym] = {}
        self._marked: set[Pseudonym] = set()

    def person(self, pseudonym: Pseudonym) -> Pseudonym:
        while pseudonym in self._into:
            pseudonym = self._into[pseudonym]
        return pseudonym

    def is_withdrawn(self, pseudonym: Pseudonym) -> bool:
        """Whoever withdrew under one name has withdrawn under all of them."""
        return any(self.person(marked) == self.person(pseudonym) for marked in self._marked)

    def take(self, decision: Decision) -> bool:
        self.known[decision.pseudonym] = None
        if decision.other is not None:
            self.known[decision.other] = None
        return {
            Kind.MERGED: self._merge,
            Kind.SEPARATED: self._separate,
            Kind.WITHDRAWN: self._withdraw,
            Kind.READMITTED: self._readmit,
        }[decision.kind](decision)

    def _merge(self, decision: Decision) -> bool:
        old, new = decision.pseudonym, decision.other
        assert new is not None
        if old == new:
            raise Refused("both IDs are the same patient's already: check ID and issuer")
        if self._into.get(old) == new:
            return False
        if old in self._into:
            raise Refused("the old ID was merged into another before: undo that merge first")
        if self.person(new) == old:
            raise Refused("the new ID was merged into the old one before: undo that merge first")
        self._into[old] = new
        return True

    def _separate(self, decision: Decision) -> bool:
        old, new = decision.pseudonym, decision.other
        if old not in self._into:
            return False
        if self._into[old] != new:
            raise Refused("the old ID was merged into another than this one")
        del self._into[old]
        return True

    def _withdraw(self, decision: Decision) -> bool:
        if decision.pseudonym in self._marked:
            return False
        self._marked.add(decision.pseudonym)
        return True

    def _readmit(self, decision: Decision) -> bool:
        person = self.person(decision.pseudonym)
        marked = {mark for mark in self._marked if self.person(mark) == person}
        self._marked -= marked
        return bool(marked)
