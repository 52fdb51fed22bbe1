"""An exported audit trail: JSON lines that anybody can verify without either house.

The first line names the house and what the first entry is chained to; then come the entries, the
house's own signed checkpoints with the entry each stands at, the checkpoints it keeps of the other
house, and a last line that says how many entries there are.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from google.protobuf.message import DecodeError

from protos.checkpoint import is_signed
from protos.digest import GENESIS, chain_link
from protos.v1.link_pb2 import Checkpoint

FORMAT = 1


class BrokenExport(ValueError):
    """An export is not what a house has written; the text says where."""


@dataclass(frozen=True, slots=True)
class Chained:
    number: int
    body: bytes
    link: bytes


@dataclass(frozen=True, slots=True)
class Trail:
    """What an export is made of."""

    house: str
    base: tuple[int, bytes]
    entries: Iterable[Chained]
    own: Iterable[tuple[int, Checkpoint]]
    kept: Iterable[Checkpoint]


@dataclass(slots=True)
class Verified:
    """What a whole export was found to hold."""

    house: str
    base: int
    entries: int = 0
    head: bytes = GENESIS
    own: int = 0
    pruned: int = 0  # of the house's checkpoints, the last that stands before the first entry
    signed_base: bool = True  # a pruned chain begins at a checkpoint that the house signed
    kept: list[Checkpoint] = field(default_factory=list)
    links: dict[bytes, int] = field(default_factory=dict)


def lines(trail: Trail) -> Iterator[str]:
    """Yield an export, line by line."""
    number, link = trail.base
    yield _line(radfed_audit=FORMAT, house=trail.house, base=number, link=link.hex())
    count = 0
    for entry in trail.entries:
        count, link = count + 1, entry.link
        yield _line(number=entry.number, body=entry.body.decode(), link=link.hex())
    for at, checkpoint in trail.own:
        yield _line(checkpoint=_packed(checkpoint), at=at)
    for checkpoint in trail.kept:
        yield _line(kept=_packed(checkpoint))
    yield _line(end=count, link=link.hex())


def verify(text: Iterable[str]) -> Verified:
    """Walk an export; BrokenExport at the first line that does not fit."""
    found: Verified | None = None
    ended = False
    for place, raw in enumerate(text, start=1):
        try:
            said = json.loads(raw)
            ended = found is not None and _taken(found, said, ended=ended)
            found = found or _begun(said)
        except BrokenExport as fault:
            raise BrokenExport(f"line {place}: {fault}") from fault
        except (ValueError, KeyError, TypeError, AttributeError, DecodeError) as fault:
            raise BrokenExport(f"line {place}: this is no line of an audit export") from fault
    if found is None or not ended:
        raise BrokenExport("the export is cut short: its last line is missing")
    if not found.signed_base:
        raise BrokenExport(f"the chain begins after entry {found.base}, which nobody signed")
    return found


def missing(of: Verified, kept_by: Verified) -> list[Checkpoint]:
    """Return what the other house keeps of this one and is not in this chain.

    What was signed before a pruned chain begins is in the export that was made then.
    """
    return [each for each in _kept_of(of, kept_by) if each.number > of.pruned or not of.base]


def out_of_sight(of: Verified, kept_by: Verified) -> int:
    """Return how many of those stand before the chain begins: an earlier export would show them."""
    return len(_kept_of(of, kept_by)) - len(missing(of, kept_by))


def joined(earlier: Verified, later: Verified) -> Verified:
    """Return a chain that was pruned with what was exported of it then; BrokenExport if it isn't.

    The later part begins where the earlier one says that it was.
    """
    if earlier.house != later.house:
        raise BrokenExport(f"one export is of {earlier.house}, the other of {later.house}")
    begins = next((link for link, at in later.links.items() if at == later.base), b"")
    if earlier.links.get(begins) != later.base:
        raise BrokenExport(
            f"entry {later.base}, after which one export begins, is not in the other"
        )
    entries = later.base - earlier.base + later.entries
    return replace(
        later,
        base=earlier.base,
        entries=entries,
        pruned=earlier.pruned,
        signed_base=earlier.signed_base,
        links=earlier.links | later.links,
    )


def _kept_of(of: Verified, kept_by: Verified) -> list[Checkpoint]:
    return [each for each in kept_by.kept if each.house == of.house and each.link not in of.links]


def _taken(found: Verified, said: dict[str, object], *, ended: bool) -> bool:
    """Take one line; return whether it was the last."""
    if ended:
        raise BrokenExport("there is more after the end")
    if "end" in said:
        return _ends(found, said)
    if "number" in said:
        _entry(found, said)
    elif "checkpoint" in said:
        _own(found, said)
    else:
        found.kept.append(_unpacked(str(said["kept"])))
    return False


def _begun(said: dict[str, object]) -> Verified:
    if said["radfed_audit"] != FORMAT:
        raise BrokenExport("another version of radfed has written this export")
    base, link = int(str(said["base"])), bytes.fromhex(str(said["link"]))
    if base == 0 and link != GENESIS:
        raise BrokenExport("the chain does not begin where a chain begins")
    house = str(said["house"])
    return Verified(house, base, head=link, links={link: base}, signed_base=base == 0)


def _entry(found: Verified, said: dict[str, object]) -> None:
    number, body = said["number"], str(said["body"]).encode()
    link = chain_link(found.head, body)
    if number != found.base + found.entries + 1 or said["link"] != link.hex():
        raise BrokenExport(f"entry {found.base + found.entries + 1} was altered")
    found.entries += 1
    found.head = link
    found.links[link] = found.base + found.entries


def _own(found: Verified, said: dict[str, object]) -> None:
    checkpoint, at = _unpacked(str(said["checkpoint"])), int(str(said["at"]))
    if not is_signed(checkpoint, found.house):
        raise BrokenExport(f"checkpoint {checkpoint.number} is not signed by {found.house}")
    if at >= found.base and found.links.get(checkpoint.link) != at:
        raise BrokenExport(f"checkpoint {checkpoint.number} does not stand at entry {at}")
    found.own += 1
    found.signed_base = found.signed_base or at == found.base
    if at <= found.base:
        found.pruned = max(found.pruned, checkpoint.number)


def _ends(found: Verified, said: dict[str, object]) -> bool:
    if said["end"] != found.entries or said["link"] != found.head.hex():
        raise BrokenExport("the end does not fit: entries are missing")
    return True


def _line(**fields: object) -> str:
    return json.dumps(fields, ensure_ascii=False) + "\n"


def _packed(checkpoint: Checkpoint) -> str:
    return b64encode(checkpoint.SerializeToString(deterministic=True)).decode()


def _unpacked(text: str) -> Checkpoint:
    return Checkpoint.FromString(b64decode(text, validate=True))
