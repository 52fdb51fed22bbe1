"""One patient's elements rewritten: each distinct element once, whatever the instances that follow.

The common cases are worked on bytes, by the reference engine's own functions; the others are given
to the reference engine one element at a time.
"""

from collections.abc import Callable
from struct import Struct
from typing import Final

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement, empty_value_for_VR
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.tag import BaseTag

from gateway.deid import actions, charsets, dates, elements, scan, uids
from gateway.deid.actions import Patient
from gateway.deid.elements import Unreadable
from gateway.deid.facts import Header
from gateway.deid.rules import BULK, DATES, NUMBERS, TEXT, WRITTEN_NUMBERS, Action, Decision
from gateway.deid.stream_plan import InDoubt, Plan, Plans, Scope
from gateway.deid.stream_read import (
    CUT_WEIGHS,
    ENTRY_WEIGHS,
    ITEM_END,
    SEQUENCE_END,
    Node,
    Sequence,
)
from gateway.deid.walk import ITEM_BYTES, LONG, LONG_VRS, SHORT

LONG_SPELT = frozenset(code.decode("ascii") for code in LONG_VRS)
WRITTEN = TEXT | DATES | WRITTEN_NUMBERS | {"AE", "AS", "CS", "PN", "UI"}
BY_REFERENCE = frozenset({actions.AGE, actions.TIMEZONE})
# Read as a number while facts are gathered, which spells them anew.
COUNTED = {
    0x00280010: "Rows",
    0x00280011: "Columns",
    0x00280008: "NumberOfFrames",
    0x00200013: "InstanceNumber",
}
UNDEFINED_BYTES: Final = b"\xff\xff\xff\xff"
SHORT_AT_MOST = 0xFFFF
LONGEST_KEPT = 4096  # of what is remembered, before and after
MOST_BYTES = 4 << 20  # remembered of all patients
_u16 = Struct("<H").pack
_u32 = Struct("<I").pack


def piece(tag: int, vr: str | None, value: bytes | None) -> RawDataElement:
    """Return an element as pydicom reads it, for the reference engine's functions."""
    return RawDataElement(
        BaseTag(tag), vr, 0, value, 0, is_implicit_VR=vr is None, is_little_endian=True
    )


class Wide(bytes):
    """An element written in UTF-8, beyond ASCII: the header must say so."""


class Writer:
    """Rewrites the elements of one patient's instances of one IOD."""

    def __init__(
        self,
        patient: Patient,
        *,
        iod: str,
        plans: Callable[[Scope], Plans],
        implicit: bool,
        decoded: frozenset[int],
        checked: bool = True,
        weight: int = 0,
    ) -> None:
        self._patient = patient
        self._iod = iod
        self._plans = plans
        self._implicit = implicit
        self._decoded = decoded  # at the root, what gathering facts decodes and so spells anew
        self._checked = checked
        self.kept: dict[Node, bytes] = {}  # of the root
        self._inner: dict[Sequence | tuple[int, tuple[str, ...], bytes], bytes] = {}
        self.used = 0  # when: the engine forgets whoever was not met for longest
        self._own_weight = self.weight = weight

    def rewrite(self, node: Node, encodings: tuple[str, ...]) -> bytes:
        """Rewrite a node of the root, and remember it."""
        written, wide = self._node(node, None, encodings)
        if wide:
            written = Wide(written)
        if self._weigh(node, written):
            self.kept[node] = written
        return written

    def forget(self) -> None:
        self.kept.clear()
        self._inner.clear()
        self.weight = self._own_weight

    def _weigh(self, node: Node, written: bytes) -> bool:
        """Say whether to remember it, and count what that costs."""
        size, times = (node.size, CUT_WEIGHS) if isinstance(node, Sequence) else (len(node), 1)
        if not size or max(size, len(written)) > LONGEST_KEPT:
            return False
        cost = ENTRY_WEIGHS + len(written) + size * times
        if self.weight + cost > MOST_BYTES:
            self.forget()
        self.weight += cost  # one step: threads share this
        return self.weight <= MOST_BYTES

    def _node(
        self, node: Node, sequence: int | None, encodings: tuple[str, ...]
    ) -> tuple[bytes, bool]:
        if isinstance(node, Sequence):
            return self._sequence(node)
        return self.element(node, sequence, encodings)

    def _sequence(self, node: Sequence) -> tuple[bytes, bool]:
        parts: list[bytes] = []
        wide = False
        for item in node.items:
            inside: list[bytes] = []
            for inner in item.nodes:
                written, beyond = self._inside(inner, node.tag, item.encodings)
                wide |= beyond
                inside.append(written)
            body = b"".join(inside)
            if item.undefined:
                parts += (ITEM_BYTES, UNDEFINED_BYTES, body, ITEM_END)
            else:
                parts += (ITEM_BYTES, _u32(len(body)), body)
        body = b"".join(parts)
        if node.undefined:
            return b"".join((node.head, UNDEFINED_BYTES, body, SEQUENCE_END)), wide
        return b"".join((node.head, _u32(len(body)), body)), wide

    def _inside(self, node: Node, sequence: int, encodings: tuple[str, ...]) -> tuple[bytes, bool]:
        """Rewrite a node of an item; remember it, unless it is wide."""
        key = node if isinstance(node, Sequence) else (sequence, encodings, node)
        known = self._inner.get(key)
        if known is not None:
            return known, False
        written, wide = self._node(node, sequence, encodings)
        if not wide and self._weigh(node, written):
            self._inner[key] = written
        return written, wide

    def element(
        self, raw: bytes, sequence: int | None, encodings: tuple[str, ...]
    ) -> tuple[bytes, bool]:
        """Rewrite one element that is no sequence; tell whether it is UTF-8 now."""
        plans = self._plans((self._iod, sequence))
        plan = plans[raw[: 4 if self._implicit else 6]]
        if plan.decision.vr == "SQ":  # emptied
            return raw, False
        value = raw[LONG if plan.long else SHORT :]
        if not value:
            emptied = empty_value_for_VR(plan.vr, raw=True)
            item = piece(plan.tag, plan.vr, b"" if emptied == b"" else None)
        else:
            item = piece(plan.tag, plan.vr, value)
        spelt_anew = sequence is None and (plan.tag in self._decoded or plan.tag in COUNTED)
        if spelt_anew and not _is_canonical(plan, value):
            return self._by_reference(raw, item, plan, encodings)
        found = self._act(item, plan.decision, encodings)
        if found is None:
            return self._by_reference(raw, item, plan, encodings)
        if found is KEPT:
            if (
                self._checked
                and plan.tag not in scan.OURS
                and scan.holds(
                    item,
                    elements.likely_vr(item),
                    self._patient.known,
                )
            ):
                raise InDoubt("a leftover")
            return (raw[:6] + b"\0\0" + raw[8:] if plan.long else raw), False
        return self._spell(plan, found)

    def _act(  # noqa: C901, PLR0911 - one case after the other
        self, item: RawDataElement, decision: Decision, encodings: tuple[str, ...]
    ) -> list[str] | None:
        """Do what `actions` does, where it is one of the common cases; None elsewhere."""
        vr, action, tag = decision.vr, decision.action, item.tag
        raw = item.value
        if item.VR == "UN" or vr not in WRITTEN | NUMBERS | BULK:
            return None
        if action is Action.ZERO:
            return [] if vr in WRITTEN else None
        if action is Action.UID or (action is Action.DUMMY and vr == "UI"):
            return self._remap(item, vr, encodings)
        if action is Action.DUMMY:
            return self._dummy(item, vr, encodings)
        if vr in NUMBERS or vr in BULK:
            return self._number(item, vr) if action is Action.KEEP else None
        if raw is not None and (not raw.isascii() or charsets.ESCAPE in raw):
            if (vr in TEXT or vr == "AE") and tag not in BY_REFERENCE:
                return self._clean_text(item, decision, encodings)
            return None
        if tag in BY_REFERENCE:
            return None
        if vr == "CS":
            return self._code(item, decision, encodings)
        if vr in DATES:
            return self._shift(item, decision, encodings)
        if vr in WRITTEN_NUMBERS:
            return self._written_number(item, vr, encodings) if action is Action.KEEP else None
        if vr == "UI":
            return None
        return self._clean_text(item, decision, encodings)

    def _remap(self, item: RawDataElement, vr: str, encodings: tuple[str, ...]) -> list[str]:
        written = elements.values(item, encodings, vr)
        plain = [uid.strip("\0 ") for uid in written]
        if all(map(uids.is_well_known, plain)):
            return KEPT
        key = self._patient.key
        return [
            uid if not uid or uids.is_well_known(uid) else uids.pseudo_uid(uid, key)
            for uid in plain
        ]

    def _dummy(self, item: RawDataElement, vr: str, encodings: tuple[str, ...]) -> list[str] | None:
        if item.tag in (actions.PATIENT_ID, actions.PATIENT_NAME):
            return [self._patient.pseudonym]
        if item.tag == actions.ACCESSION:
            written = elements.as_text(item, encodings)
            return [uids.keyed_text("accession", written, self._patient.key)] if written else []
        filling = actions.FILLING.get(vr, "")
        return [filling] if isinstance(filling, str) else None

    def _number(self, item: RawDataElement, vr: str) -> list[str] | None:
        try:
            elements.check_length(item, vr)
        except Unreadable:
            raise InDoubt("length") from None
        named = self._checked and actions.names_somebody(item, self._patient.known)
        return None if named else KEPT

    def _written_number(
        self, item: RawDataElement, vr: str, encodings: tuple[str, ...]
    ) -> list[str] | None:
        for value in elements.values(item, encodings, vr):
            if value.strip("\0 ") and not actions.is_number(value, self._patient.known):
                return None
        return KEPT

    def _code(
        self, item: RawDataElement, decision: Decision, encodings: tuple[str, ...]
    ) -> list[str] | None:
        written = elements.values(item, encodings, decision.vr)
        closed = actions.CLOSED.get(item.tag)
        for value in written:
            fits = (
                value.strip() in closed if closed else actions.is_code(value, self._patient.known)
            )
            if value and not fits:
                return None
        return KEPT

    def _shift(
        self, item: RawDataElement, decision: Decision, encodings: tuple[str, ...]
    ) -> list[str] | None:
        vr = decision.vr
        written = elements.values(item, encodings, vr)
        days = self._patient.days if decision.action is Action.CLEAN else 0
        filled = [value for value in written if value.strip("\0 ")]
        if vr == "DA":
            moved = [dates.shift_date(value, days) for value in filled]
        elif vr == "TM":
            moved = [dates.kept_time(value) for value in filled]
        else:
            moved = [dates.shift_datetime(value, days) for value in filled]
        return moved if any(moved) else self._emptied(decision)

    def _clean_text(
        self, item: RawDataElement, decision: Decision, encodings: tuple[str, ...]
    ) -> list[str] | None:
        written = elements.values(item, encodings, decision.vr)
        verb = actions.cleaning(item.tag, decision.action)
        people = self._patient.known
        cleaned = [verb(value, people) for value in written] if self._checked else written
        if cleaned == written and elements.is_plain(item):
            return KEPT
        if decision.vr in actions.PLAIN:
            cleaned = [value.encode("ascii", "ignore").decode() for value in cleaned]
        most = actions.LONGEST.get(decision.vr, 1 << 30)
        cut = [actions.shortened(value, most, verb, people) for value in cleaned]
        return cut if any(cut) else self._emptied(decision)

    def _emptied(self, decision: Decision) -> list[str] | None:
        return None if decision.required else []

    def _spell(self, plan: Plan, values: list[str]) -> tuple[bytes, bool]:
        """Write text values as pydicom does."""
        vr = plan.decision.vr
        written = "\\".join(values)
        if (
            self._checked
            and written
            and plan.tag not in scan.OURS
            and vr in scan.LOOKED_AT
            and self._patient.known.found_in(written)
        ):
            raise InDoubt("a leftover")
        wide = not written.isascii()
        if wide and vr not in TEXT and vr != "PN":
            raise InDoubt("beyond ASCII where no charset applies")
        value = written.encode("utf-8")
        if len(value) % 2:
            value += b"\0" if vr == "UI" else b" "
        group, number = plan.tag >> 16, plan.tag & 0xFFFF
        tag = _u16(group) + _u16(number)
        if self._implicit:
            return tag + _u32(len(value)) + value, wide
        if vr in LONG_SPELT:
            return tag + vr.encode("ascii") + b"\0\0" + _u32(len(value)) + value, wide
        if len(value) > SHORT_AT_MOST:
            raise InDoubt("a long value")
        return tag + vr.encode("ascii") + _u16(len(value)) + value, wide

    def missing(self, tag: int) -> bytes:
        """Write what a patient's attribute is where an instance has none (type 2)."""
        alone = Dataset()
        elements.put(alone, tag, "LO" if tag == actions.PATIENT_ID else "PN", "")
        decision = self._plans((self._iod, None)).decide(tag)
        actions.act(alone, tag, decision, (), self._patient)
        return encoded(alone, tag, implicit=self._implicit)[0]

    def _by_reference(
        self, raw: bytes, item: RawDataElement, plan: Plan, encodings: tuple[str, ...]
    ) -> tuple[bytes, bool]:
        """Let the reference engine treat this element, alone in a dataset."""
        tag = BaseTag(plan.tag)
        if plan.vr == "UN" and " or " in dictionary_VR(tag):
            raise InDoubt("a VR that depends on other elements")
        alone = Dataset()
        length = len(raw) - (LONG if plan.long else SHORT)
        alone._dict[tag] = RawDataElement(  # noqa: SLF001 - as pydicom reads it
            tag,
            plan.vr,
            length,
            item.value,
            0,
            is_implicit_VR=self._implicit,
            is_little_endian=True,
        )
        try:
            if plan.tag in COUNTED:
                Header(alone, encodings).count(COUNTED[plan.tag])
            elif plan.tag in self._decoded:
                alone.get(tag)
            actions.act(alone, plan.tag, plan.decision, encodings, self._patient)
            left = scan.leftover(alone, self._patient.known) if self._checked else None
            written = encoded(alone, tag, implicit=self._implicit)
        except Exception:  # noqa: BLE001 - pydicom raises anything: the reference engine decides
            raise InDoubt("unreadable") from None
        if left is not None:
            raise InDoubt("a leftover")
        return written


KEPT: Final[list[str]] = ["as it came"]  # told apart by identity


def encoded(alone: Dataset, tag: int, *, implicit: bool) -> tuple[bytes, bool]:
    if not elements.present(alone, tag):
        return b"", False
    item = elements.held(alone, tag)
    if isinstance(item, RawDataElement) and item.value is None:
        item = item._replace(value=b"")
    wide = not isinstance(item.value, bytes) and not elements.as_text(item, ("utf-8",)).isascii()
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, True
    write_data_element(buffer, item, ["utf-8"])
    return bytes(buffer.getvalue()), wide


def _is_canonical(plan: Plan, value: bytes) -> bool:
    """Tell a value that decoding and encoding leave as it is."""
    if plan.vr == "US":
        return len(value) == 2  # noqa: PLR2004
    if plan.vr == "IS":
        bare = value.rstrip(b" ")
        return bare.isdigit() and len(bare) + len(bare) % 2 == len(value)
    if plan.vr == "CS":
        bare = value.rstrip(b" ")
        return (
            bare.isascii()
            and len(bare) + len(bare) % 2 == len(value)
            and b" \\" not in value
            and b"\\ " not in value
            and b"\0" not in value
            and not value.startswith(b" ")
        )
    return False
