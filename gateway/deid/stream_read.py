"""Header bytes cut into elements, as few as the rules need: what goes is passed over.

No pydicom: one dictionary lookup per element in a table made from the same rulebook. Whatever is
not as PS3.5 has it, or would be read otherwise by the reference engine, raises `InDoubt`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from struct import Struct
from typing import Final

from pydicom.datadict import (
    dictionary_has_tag,
    private_dictionary_VR,
)

from gateway.deid import charsets, elements, identity
from gateway.deid.rules import Action, Rulebook
from gateway.deid.stream_plan import INSTANCE, InDoubt, Plan, Plans, Scope
from gateway.deid.walk import (
    ITEM_BYTES,
    LONG,
    SHORT,
    UNDEFINED,
)

ITEM_END_BYTES: Final = b"\xfe\xff\x0d\xe0"
SEQUENCE_END: Final = b"\xfe\xff\xdd\xe0\0\0\0\0"
ITEM_END: Final = b"\xfe\xff\x0d\xe0\0\0\0\0"
UN: Final = b"UN"
SQ: Final = b"SQ"
PRIVATE_BLOCK: Final = 0xFF00
LONGEST_KEPT = 4096  # of a sequence that is remembered
MOST_BYTES = 2 << 20  # of all that are
CUT_WEIGHS = 4  # times its bytes: what a sequence weighs once it is cut into objects
ENTRY_WEIGHS = 512  # what remembering costs besides the bytes
_u16 = Struct("<H").unpack_from
_u32 = Struct("<I").unpack_from
_tag = Struct("<HH").unpack_from

Telling = tuple[str, bytes, tuple[str, ...]]  # kind, value and encodings of what names somebody


@dataclass(slots=True, eq=False)
class Item:
    undefined: bool
    nodes: "list[bytes | Sequence]" = field(default_factory=list)
    encodings: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class Sequence:
    head: bytes  # all of the element's header before its length
    tag: int
    undefined: bool
    size: int = 0  # bytes of its value, if it is remembered: else this object is met only once
    items: list[Item] = field(default_factory=list)


Node = bytes | Sequence


@dataclass(slots=True)
class Cut:
    """A header, cut: `tags` and `nodes` are what stays at the root, in step."""

    tags: list[int] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    telling: list[Telling] = field(default_factory=list)
    facts: list[bytes] = field(default_factory=list)  # whole elements
    instance: dict[int, bytes] = field(default_factory=dict)  # values that differ by instance
    charset: bytes | None = None  # value of (0008,0005)


class Cutter:
    """Cuts headers of one profile."""

    def __init__(self, rules: Rulebook, retained: frozenset[int]) -> None:
        self._rules = rules
        self._retained = retained
        self._plans: dict[Scope, Plans] = {}
        self._seen: dict[Remembered, _Seen] = {}
        self._weight = 0

    def plans(self, scope: Scope) -> Plans:
        found = self._plans.get(scope)
        if found is None:
            found = self._plans[scope] = Plans(self._rules, scope, self._retained)
        return found

    def cut(self, header: bytes, iod: str, *, implicit: bool, encodings: tuple[str, ...]) -> Cut:
        """Cut a root dataset."""
        _check_written(header, implicit=implicit)
        cut = Cut()
        reading = _Reading(self, header, iod, cut.telling)
        end = reading.dataset(
            0, len(header), None, implicit=implicit, encodings=encodings, depth=0, cut=cut
        )
        if end != len(header):
            raise InDoubt("a delimiter at the root")
        return cut

    def forget(self) -> None:
        self._seen.clear()
        self._weight = 0

    def recall(self, key: "Remembered") -> "_Seen | None":
        return self._seen.get(key)

    def remember(self, key: "Remembered", seen: "_Seen") -> None:
        weight = ENTRY_WEIGHS + (1 + CUT_WEIGHS) * len(key[-1])
        if self._weight + weight > MOST_BYTES:
            self.forget()
        self._weight += weight
        self._seen[key] = seen


@dataclass(frozen=True, slots=True)
class _Seen:
    """A sequence cut before: the same bytes under the same rules."""

    node: Sequence | None
    telling: tuple[Telling, ...]


Remembered = tuple[Scope, bool, int, tuple[str, ...], bytes]


class _Reading:
    """One header being cut."""

    def __init__(self, cutter: Cutter, data: bytes, iod: str, telling: list[Telling]) -> None:
        self._cutter = cutter
        self._data = data
        self._iod = iod
        self._telling = telling

    def dataset(  # noqa: C901, PLR0912, PLR0915 - the hot loop: calls would double its cost
        self,
        at: int,
        end: int,
        sequence: int | None,
        *,
        implicit: bool,
        encodings: tuple[str, ...],
        depth: int,
        cut: Cut | None = None,
        item: Item | None = None,
        undefined: bool = False,
    ) -> int:
        """Cut a dataset into `cut` (the root) or `item`; return where it ends."""
        if depth > elements.DEEPEST:
            raise InDoubt("depth")
        data = self._data
        plans = self._cutter.plans((self._iod, sequence))
        width = 4 if implicit else 6
        nodes: list[Node] | None = None
        tags: list[int] = []
        if cut is not None:
            nodes, tags = cut.nodes, cut.tags
        elif item is not None:
            nodes = item.nodes
        last = -1
        creators: dict[int, bytes] = {}
        while at < end:
            head = data[at : at + width]
            if undefined and head[:4] == ITEM_END_BYTES:
                if data[at : at + SHORT] != ITEM_END:
                    raise InDoubt("an item delimiter with a length")
                return at + SHORT
            if at + SHORT > end:
                raise InDoubt("a cut element")
            plan = plans[head]
            tag = plan.tag
            if tag <= last:
                raise InDoubt("order")
            last = tag
            if implicit:
                (length,) = _u32(data, at + 4)
                value = at + SHORT
            elif plan.long:
                if at + LONG > end:
                    raise InDoubt("a cut element")
                (length,) = _u32(data, at + 8)
                value = at + LONG
            else:
                (length,) = _u16(data, at + 6)
                value = at + SHORT
            after = value + length
            if plan.drop and after <= end and length != UNDEFINED:
                if tag & 0x10000 and not tag & PRIVATE_BLOCK:
                    creators[tag] = data[value:after]
                at = after
                continue
            if plan.nested or length == UNDEFINED:
                at = self._sequence(
                    plan, at, value, length, end, implicit, encodings, depth, nodes, tags, cut
                )
                continue
            if after > end:
                raise InDoubt("length")
            if plan.vr in (None, "UN") and data[value : value + 4] == ITEM_BYTES:
                if self._hidden(plan, creators):
                    self._gather(plan, value, after, implicit, encodings, depth)
                if plan.keep:
                    raise InDoubt("items where none are meant")
            elif plan.kind is not None and length:
                if length > identity.LONGEST:
                    raise InDoubt("a long identifier")
                self._telling.append((plan.kind, data[value:after], encodings))
            if plan.keep:
                if nodes is not None:
                    nodes.append(data[at:after])
                    tags.append(tag)
            elif tag & 0x10000 and not tag & PRIVATE_BLOCK:
                creators[tag] = data[value:after]
            if cut is not None:
                if tag in INSTANCE:
                    cut.instance[tag] = data[value:after]
                elif plan.fact:
                    cut.facts.append(data[at:after])
                if tag == elements.CHARSET:
                    cut.charset = data[value:after]
                    encodings = _encodings(cut.charset, encodings)
            elif tag == elements.CHARSET:
                encodings = _encodings(data[value:after], encodings)
                if item is not None:
                    item.encodings = encodings
            at = after
        if undefined or at != end:
            raise InDoubt("length")
        return at

    def _sequence(  # noqa: C901, PLR0917 - the state of the loop above
        self,
        plan: Plan,
        at: int,
        value: int,
        length: int,
        end: int,
        implicit: bool,  # noqa: FBT001 - as above
        encodings: tuple[str, ...],
        depth: int,
        nodes: list[Node] | None,
        tags: list[int],
        cut: Cut | None,
    ) -> int:
        """Cut a sequence; return where it ends."""
        data = self._data
        if length == UNDEFINED and not plan.nested:
            if plan.keep or plan.vr not in (None, "UN"):
                raise InDoubt("undefined length")
            if plan.vr is None and (
                dictionary_has_tag(plan.tag) or data[value : value + 4] != ITEM_BYTES
            ):
                raise InDoubt("undefined length")
        elif plan.vr == "UN" and (plan.keep or length != UNDEFINED):
            raise InDoubt("a sequence sent as UN")
        inside_implicit = implicit or plan.vr == "UN"
        wanted = plan.keep and nodes is not None and plan.decision.action is not Action.ZERO
        after = value + length
        key: Remembered | None = None
        if length != UNDEFINED:
            if after > end:
                raise InDoubt("length")
            if length <= LONGEST_KEPT:
                key = ((self._iod, plan.tag), wanted, depth, encodings, data[at:after])
                seen = self._cutter.recall(key)
                if seen is not None:
                    self._telling.extend(seen.telling)
                    self._add(plan, at, after, seen.node, nodes, tags, cut)
                    return after
        node = None
        if wanted:
            head = data[at : at + 4] + (b"" if implicit else b"SQ\0\0")
            node = Sequence(head, plan.tag, length == UNDEFINED, 0 if key is None else length)
        told = len(self._telling)
        after = self._items(
            plan.tag, node, value, None if length == UNDEFINED else after, end,
            implicit=inside_implicit, encodings=encodings, depth=depth,
        )  # fmt: skip
        if key is not None:
            self._cutter.remember(key, _Seen(node, tuple(self._telling[told:])))
        self._add(plan, at, after, node, nodes, tags, cut)
        return after

    def _add(
        self,
        plan: Plan,
        at: int,
        after: int,
        node: Sequence | None,
        nodes: list[Node] | None,
        tags: list[int],
        cut: Cut | None,
    ) -> None:
        if plan.fact and cut is not None:
            cut.facts.append(self._data[at:after])
        if nodes is None or not plan.keep:
            return
        if node is not None:
            nodes.append(node)
        else:  # emptied
            head = self._data[at : at + 4]
            nodes.append(head + (b"\0\0\0\0" if plan.vr is None else b"SQ\0\0\0\0\0\0"))
        tags.append(plan.tag)

    def _items(
        self,
        tag: int,
        node: Sequence | None,
        at: int,
        stop: int | None,
        end: int,
        *,
        implicit: bool,
        encodings: tuple[str, ...],
        depth: int,
    ) -> int:
        data = self._data
        limit = end if stop is None else stop
        while at < limit:
            if at + SHORT > limit:
                raise InDoubt("a cut item")
            head = data[at : at + 4]
            if head != ITEM_BYTES:
                if stop is None and data[at : at + SHORT] == SEQUENCE_END:
                    return at + SHORT
                raise InDoubt("no item")
            (length,) = _u32(data, at + 4)
            at += SHORT
            item = None
            if node is not None:
                item = Item(length == UNDEFINED, encodings=encodings)
                node.items.append(item)
            here = limit if length == UNDEFINED else at + length
            if here > limit:
                raise InDoubt("length")
            if implicit and here - at >= SHORT:
                _check_written(data[at : at + SHORT], implicit=True)
            at = self.dataset(
                at, here, tag, implicit=implicit, encodings=encodings, depth=depth + 1,
                item=item, undefined=length == UNDEFINED,
            )  # fmt: skip
        if stop is None or at != stop:
            raise InDoubt("a sequence without an end")
        return at

    def _hidden(self, plan: Plan, creators: Mapping[int, bytes]) -> bool:
        """Tell whether pydicom reads these items as a sequence: by its private dictionary."""
        if dictionary_has_tag(plan.tag):
            raise InDoubt("items where the dictionary has none")
        if not plan.tag & 0x10000:
            return False
        creator = creators.get(plan.tag & 0xFFFF0000 | plan.tag >> 8 & 0xFF)
        if not creator or not plan.tag & PRIVATE_BLOCK:
            return False
        if not creator.isascii() or b"\\" in creator:
            raise InDoubt("an odd private creator")
        try:
            vr = private_dictionary_VR(plan.tag, creator.decode("ascii").rstrip("\0 "))
        except KeyError:
            return False
        if vr not in ("SQ", "UN"):
            raise InDoubt("items under another VR")
        return vr == "SQ"

    def _gather(
        self,
        plan: Plan,
        at: int,
        after: int,
        implicit: bool,  # noqa: FBT001 - as above
        encodings: tuple[str, ...],
        depth: int,
    ) -> None:
        """Read what a hidden sequence tells of people; it is not kept."""
        inside = implicit or plan.vr == "UN"
        self._items(
            plan.tag, None, at, after, after, implicit=inside, encodings=encodings, depth=depth
        )


def _encodings(raw: bytes, inherited: tuple[str, ...]) -> tuple[str, ...]:
    """Return the encodings a (0008,0005) puts in force, as `elements.charset_of` does."""
    terms = charsets.decode(raw, ("iso8859",)).split("\\")
    return charsets.encodings(tuple(terms)) if any(terms) else inherited


def _check_written(start: bytes, *, implicit: bool) -> None:
    """Refuse what begins in the other form than the syntax says: pydicom would read that one."""
    letters = len(start) >= SHORT and all(0x41 <= byte <= 0x5A for byte in start[4:6])  # noqa: PLR2004
    if len(start) >= SHORT and letters is implicit:
        raise InDoubt("the other VR form")
