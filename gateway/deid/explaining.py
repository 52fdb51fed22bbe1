"""What would become of every element of a file, by which rule and why; no value is read out."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from gateway.deid import elements, faces, pixels, private
from gateway.deid.facts import Header
from gateway.deid.profile import Profile
from gateway.deid.rules import Action, Decision, Rulebook

UNSAID = ("iso8859",)
META = "written anew: only classes, syntax and the pseudonymous UID are said"
WITH_ITS_SEQUENCE = "it goes with the sequence it stands in"
FACE_SAID = "YES for slices of a head, NO once its face was removed from the whole series"
# What the engine itself says of an instance, whatever was sent (PS3.15 E.1.1).
SIGNED = (0x00120062, 0x00120063, 0x00120064, 0x00280303)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What would happen to one attribute, without its value."""

    path: str
    keyword: str
    action: str
    rule: str
    why: str


def explain(profile: Profile, dataset: Dataset) -> list[Explanation]:
    """Say for every element at every depth, file meta and preamble too; nothing is changed."""
    return list(_Reader(Rulebook(profile)).rows(dataset))


class _Reader:
    def __init__(self, rules: Rulebook) -> None:
        self._rules = rules

    def rows(self, dataset: Dataset) -> Iterator[Explanation]:
        if getattr(dataset, "preamble", None):
            yield Explanation(
                "preamble", "", Action.REMOVE, "PS3.10 7.1", "128 zeros take its place"
            )
        meta = getattr(dataset, "file_meta", None) or Dataset()
        for tag in elements.tags(meta):
            yield Explanation(_path(tag), keyword_for_tag(tag), "-", "PS3.10 7.1", META)
        sop_class = Header(dataset, UNSAID).first("SOPClassUID")
        iod = self._rules.iod(sop_class) if not pixels.is_opaque(sop_class) else None
        if iod is None:
            yield Explanation(
                "instance", "", "-", "quarantine", "its SOP class is not one that can be cleaned"
            )
        try:
            yield from self._inside(dataset, iod or "unknown", None, "", 0)
        except (elements.TooDeep, RecursionError):
            yield Explanation("sequences", "", "-", "quarantine", "they lie too deep in each other")
        if faces.sight(sop_class, Header(dataset, UNSAID)) is faces.Sight.NAMED:
            yield Explanation(
                "(0028,0302)", "RecognizableVisualFeatures", "+", "PS3.3 C.7.6.1", FACE_SAID
            )
        for tag in SIGNED:
            yield Explanation(
                _path(tag), keyword_for_tag(tag), "+", "PS3.15 E.1.1", "says what was done"
            )

    def _inside(
        self,
        dataset: Dataset,
        iod: str,
        sequence: int | None,
        path: str,
        depth: int,
        gone: Explanation | None = None,
    ) -> Iterator[Explanation]:
        elements.check_depth(depth)
        creators = private.creators(dataset) if self._rules.keeps_private else {}
        for tag in elements.tags(dataset):
            if sequence is None and tag in SIGNED:
                continue
            item = elements.held(dataset, tag)
            whose = creators.get(private.block_of(tag)) if tag not in creators else None
            row, decision = self._row(iod, sequence, tag, item.VR, whose, path)
            if gone is not None:
                row = Explanation(
                    row.path, row.keyword, Action.REMOVE, gone.rule, WITH_ITS_SEQUENCE
                )
            yield row
            if elements.likely_vr(item) != "SQ" and decision.vr != "SQ":
                continue
            goes = row if row.action in (Action.REMOVE, Action.ZERO) else None
            yield from self._items(dataset, tag, iod, f"{row.path}", depth, goes)

    def _items(
        self, dataset: Dataset, tag: int, iod: str, path: str, depth: int, gone: Explanation | None
    ) -> Iterator[Explanation]:
        try:
            found = elements.items(dataset, tag)
        except elements.Unreadable:
            return  # its bytes are no items: nothing more can be said of them
        for number, inner in enumerate(found, 1):
            here = f"{path}[{number}]>"
            yield from self._inside(inner, iod, int(tag), here, depth + 1, gone)

    def _row(
        self, iod: str, sequence: int | None, tag: int, vr: str | None, whose: str | None, path: str
    ) -> tuple[Explanation, Decision]:
        name, here = keyword_for_tag(tag), path + elements.place(tag)
        if tag == elements.CHARSET and sequence is None:
            decision = Decision(
                Action.KEEP, "CS", "PS3.3 C.12.1.1.2", "or UTF-8 where text needs it"
            )
        elif iod == "unknown":
            decision = Decision(Action.REMOVE, vr or "UN", "quarantine", "the instance waits whole")
        elif private.is_creator(tag) and self._rules.keeps_private:
            decision = Decision(
                Action.KEEP, "LO", "PS3.15 E.3.10-1", "stays if anything of its block does"
            )
        else:
            decision = self._rules.decide(iod, sequence, tag, vr, whose)
        return Explanation(here, name, decision.action, decision.rule, decision.why), decision


def _path(tag: int) -> str:
    return elements.place(tag)
