"""One way through a dataset, for the engine and for whoever makes what is stored stricter."""

from collections.abc import Callable
from typing import NamedTuple

from pydicom.dataset import Dataset

from gateway.deid import elements, lookup, private
from gateway.deid.elements import Unreadable
from gateway.deid.rules import Action, Decision, Rulebook


class Sent(NamedTuple):
    """What a rulebook is asked by: where an element stands, as what, and whose it is."""

    sequence: int | None  # None: at the root
    vr: str | None
    creator: str | None  # of a private attribute that may stay


# Does what was decided to one element that is no sequence; the last is the charset it is read in.
Act = Callable[[Dataset, int, Decision, Sent, tuple[str, ...]], None]


class Treatment:
    """Takes every element, at every depth, to what the rulebook says of it."""

    def __init__(self, rules: Rulebook, iod: str, act: Act, *, private_may_stand: bool) -> None:
        self._rules = rules
        self._iod = iod
        self._act = act
        self._private_may_stand = private_may_stand

    def treat(
        self,
        dataset: Dataset,
        encodings: tuple[str, ...],
        sequence: int | None = None,
        depth: int = 0,
    ) -> None:
        elements.check_depth(depth)
        inner = elements.charset_of(dataset, encodings)
        creators = private.creators(dataset) if self._private_may_stand else {}
        for tag in elements.tags(dataset):
            if (tag == elements.CHARSET and sequence is None) or tag in creators:
                continue
            whose = creators.get(private.block_of(tag)) if creators else None
            sent = Sent(sequence, elements.held(dataset, tag).VR, whose)
            decision = self._rules.decide(self._iod, sequence, tag, sent.vr, whose)
            if decision.vr != "SQ":
                try:
                    self._act(dataset, tag, decision, sent, inner)
                except Exception:  # noqa: BLE001 - pydicom's text holds values: it ends here
                    raise Unreadable(tag) from None
            elif decision.action is Action.REMOVE:
                elements.drop(dataset, tag)
            elif decision.action is Action.ZERO:
                elements.put(dataset, tag, "SQ", [])
            else:
                for item in elements.items(dataset, tag):
                    self.treat(item, inner, int(tag), depth + 1)
        if creators:
            private.settle(dataset, creators)
        lookup.check(dataset)
