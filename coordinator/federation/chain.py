"""The coordinator's trail as it is chained: every link, recomputed from the events."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from protos.digest import GENESIS, chain_link


class Trail(Protocol):
    """What is needed of the audit trail: its events in order, checked as they are read."""

    def entries(self) -> Iterable[dict[str, object]]: ...


@dataclass(frozen=True, slots=True)
class Linked:
    """One entry as it is chained."""

    number: int
    body: bytes
    link: bytes


def linked(trail: Trail) -> Iterator[Linked]:
    """Yield each entry with its link; the body is what the trail hashed: JSON, sorted keys."""
    link = GENESIS
    for number, event in enumerate(trail.entries(), start=1):
        body = json.dumps(event, sort_keys=True).encode()
        link = chain_link(link, body)
        yield Linked(number, body, link)


@dataclass(frozen=True, slots=True)
class Survey:
    """What one walk along the chain has found."""

    number: int
    head: bytes
    at: Mapping[int, bytes]  # the links at the numbers that were asked for
    found: frozenset[bytes]  # those of the links asked for that are in the chain


def survey(trail: Trail, numbers: Collection[int], links: Collection[bytes]) -> Survey:
    """Walk the chain once; links of entries that are not there are not in the answer."""
    number, head, at = 0, GENESIS, {0: GENESIS}
    found = {GENESIS} & set(links)
    for entry in linked(trail):
        number, head = entry.number, entry.link
        if number in numbers:
            at[number] = head
        if head in links:
            found.add(head)
    return Survey(number, head, at, frozenset(found))
