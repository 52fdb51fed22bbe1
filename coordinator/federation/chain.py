"""One walk along the coordinator's trail as it is chained: which links stand where."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from protos.digest import GENESIS


class Trail(Protocol):
    """What is needed of the audit trail: number, body and link in order, checked when read."""

    def base(self) -> tuple[int, bytes]: ...
    def chained(self) -> Iterable[tuple[int, bytes, bytes]]: ...


@dataclass(frozen=True, slots=True)
class Survey:
    """What one walk along the chain has found."""

    base: int  # the entry after which it begins
    number: int
    head: bytes
    at: Mapping[int, bytes]  # the links at the numbers that were asked for
    found: frozenset[bytes]  # those of the links asked for that are in the chain


def survey(trail: Trail, numbers: Collection[int], links: Collection[bytes]) -> Survey:
    """Walk the chain once; links of entries that are not there are not in the answer."""
    number, head = base = trail.base()
    at = {0: GENESIS, number: head}
    found = {GENESIS, head} & set(links)
    for number, _body, head in trail.chained():
        if number in numbers:
            at[number] = head
        if head in links:
            found.add(head)
    return Survey(base[0], number, head, at, frozenset(found))
