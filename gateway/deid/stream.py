"""The stream engine: header bytes in, the same header without its patient out, no Dataset made.

One table with the reference engine (the same rulebook, actions, patterns and scan), and equal
output; whatever it has a doubt about it gives back, and the reference engine decides.
"""

from bisect import bisect_left
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from itertools import count
from struct import Struct
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import ImplicitVRLittleEndian

from gateway.deid import actions, charsets, elements, faces, facts, lookup, names, pixels, uids
from gateway.deid.actions import Patient
from gateway.deid.dates import parse_date, shift_days
from gateway.deid.engine import UNSAID, UTF_8, retained, sign
from gateway.deid.facts import DeidFacts, Header
from gateway.deid.profile import Profile
from gateway.deid.rules import Rulebook
from gateway.deid.spare import Layout, layout
from gateway.deid.stream_plan import INSTANCE_NUMBER, SOP_UID, InDoubt
from gateway.deid.stream_read import (
    Cut,
    Cutter,
    Telling,
)
from gateway.deid.stream_write import MOST_BYTES, Wide, Writer, encoded, piece
from gateway.deid.walk import LONG_VRS, SHORT_VRS
from gateway.model import Original, Pseudonym, PseudoUID, RealUID

SOP_CLASS = 0x00080016
MODEL = 0x00081090
MOST_PATIENTS = 16
MOST_FACTS = 256
LONGEST_FACTS = 8192  # of what is remembered: a code sequence may be of any size
PERSON_WEIGHS = 4096  # about what one compiled name or number weighs
NOBODY = names.Known(None, None)
_explicit = Struct("<HH2sH").unpack_from
_implicit = Struct("<HHI").unpack_from
_u32 = Struct("<I").unpack_from


@dataclass(frozen=True, slots=True)
class Streamed:
    """A header rewritten; `sop_class_uid` is the true one, for whoever checks it."""

    header: bytes
    original: Original
    facts: DeidFacts
    needs_pixels: pixels.Risk | None
    pixel_bytes: int
    spare: Layout | None = None
    face: faces.FaceRisk = faces.NOTHING


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """The reference engine must look; `why` is for the statistics, and quotes nothing."""

    why: str


@dataclass(frozen=True, slots=True)
class _Told:
    """What the facts of a series' instances have in common."""

    original: Original
    found: dict[str, Any]
    patient: Pseudonym
    days: int
    look: pixels.Risk | None
    pixel_bytes: int
    spare: Layout | None
    face: faces.FaceRisk
    decoded: frozenset[int]
    charset: bytes  # the element as it is written
    charset_known: bool


class StreamEngine:
    """One profile under one site's keys; safe to share between threads."""

    def __init__(
        self,
        profile: Profile,
        pseudonym_key: uids.Keys,
        shift_key: uids.Keys,
        *,
        checked: bool = True,
    ) -> None:
        """Prepare the tables; `checked` is false only to measure what text and scan cost."""
        self._profile = profile
        self._key = pseudonym_key
        self._shift_key = uids.versions(shift_key)[-1]
        self._versions = uids.numbers(pseudonym_key, shift_key)
        self._checked = checked
        self._rules = Rulebook(profile)
        self._retained = retained(profile)
        self._cutter = Cutter(self._rules, self._retained)
        self._writers: dict[object, Writer] = {}
        self._clock = count()
        self._told: dict[object, _Told] = {}
        self._signs = {implicit: _signs(profile, implicit=implicit) for implicit in (False, True)}
        self._shown = {implicit: _shown(implicit=implicit) for implicit in (False, True)}
        self._utf_8 = {implicit: _utf_8(implicit=implicit) for implicit in (False, True)}
        self._pseudo_uid = lru_cache(4096)(lambda real: uids.pseudo_uid(real, pseudonym_key))

    def apply(self, header: bytes, transfer_syntax_uid: str) -> Streamed | NotUnderstood:
        """De-identify the bytes of a dataset up to Pixel Data, little endian and not deflated."""
        try:
            return self._apply(header, transfer_syntax_uid)
        except InDoubt as doubt:
            return NotUnderstood(str(doubt))
        except Exception as fault:  # noqa: BLE001 - never less safe: the reference engine decides
            return NotUnderstood(type(fault).__name__)

    def forget(self) -> None:
        """Forget every patient and series; the tables stay."""
        self._writers.clear()
        self._told.clear()
        self._cutter.forget()

    def _apply(self, header: bytes, transfer_syntax_uid: str) -> Streamed:
        implicit = transfer_syntax_uid == ImplicitVRLittleEndian
        sop_class, encodings = _begin(header, implicit=implicit)
        iod = self._rules.iod(sop_class)
        if iod is None or pixels.is_opaque(sop_class):
            raise InDoubt("class")
        cut = self._cutter.cut(header, iod, implicit=implicit, encodings=encodings)
        if not lookup.CHECKED.isdisjoint(cut.tags):
            _check_tables(cut, implicit=implicit)
        told = self._tell(cut, sop_class, transfer_syntax_uid, encodings, implicit=implicit)
        original, number = self._instance(cut, told.original, encodings)
        writer = self._writer(cut, told, iod, implicit=implicit)
        kept, weight = writer.kept, writer.weight
        try:
            written = [
                writer.rewrite(node, encodings) if (found := kept.get(node)) is None else found
                for node in cut.nodes
            ]
        finally:
            if writer.weight != weight:
                self._make_room()
        ours = self._signs[implicit]
        wide = Wide in map(type, written) and any(
            type(found) is Wide and tag not in ours
            for tag, found in zip(cut.tags, written, strict=True)
        )
        out = self._joined(cut.tags, written, told, writer, wide=wide, implicit=implicit)
        model = self._model(cut.tags, written, implicit=implicit)
        known = told.found | {
            "instance_number": number,
            "sop_class_uid": sop_class,
            "transfer_syntax_uid": transfer_syntax_uid,
            "model": model,
        }
        result = self._facts(original, known)
        return Streamed(out, original, result, told.look, told.pixel_bytes, told.spare, told.face)

    def _facts(self, true: Original, known: dict[str, Any]) -> DeidFacts:
        return DeidFacts(
            sop_uid=self._kept_or_pseudo(true.sop_uid),
            series_uid=self._kept_or_pseudo(true.series_uid),
            study_uid=self._kept_or_pseudo(true.study_uid),
            profile_digest=self._profile.digest,
            **self._versions,
            **known,
        )

    def _kept_or_pseudo(self, real: RealUID) -> PseudoUID:
        return PseudoUID(real) if self._profile.options.retain_uids else self._pseudo_uid(real)

    def _instance(
        self, cut: Cut, shared: Original, encodings: tuple[str, ...]
    ) -> tuple[Original, int | None]:
        """Read what differs by instance: its UID and its number."""
        uid = charsets.decode(cut.instance.get(SOP_UID, b""), encodings).strip("\0 ")
        uid = uid.split("\\")[0].strip()
        if not (uid and shared.study_uid and shared.series_uid):
            raise InDoubt("UIDs")
        raw = cut.instance.get(INSTANCE_NUMBER)
        number = None
        if raw:
            plain = raw.strip(b" ")
            if not plain.isdigit() or len(plain) > 9:  # noqa: PLR2004 - what fits an IS anyway
                raise InDoubt("instance number")
            number = int(plain)
        return replace(shared, sop_uid=RealUID(uid)), number

    def _tell(
        self,
        cut: Cut,
        sop_class: str,
        transfer_syntax_uid: str,
        encodings: tuple[str, ...],
        *,
        implicit: bool,
    ) -> _Told:
        raw = b"".join(cut.facts)
        key = (raw, transfer_syntax_uid)
        told = self._told.get(key)
        if told is None:
            told = self._told_by(raw, sop_class, transfer_syntax_uid, encodings, implicit=implicit)
            if len(raw) <= LONGEST_FACTS:
                _put(self._told, key, told, MOST_FACTS)
        return told

    def _told_by(
        self,
        raw: bytes,
        sop_class: str,
        transfer_syntax_uid: str,
        encodings: tuple[str, ...],
        *,
        implicit: bool,
    ) -> _Told:
        dataset = read_dataset(BytesIO(raw), implicit, is_little_endian=True)
        header = Header(dataset, encodings)
        true = facts.original(header)
        called = uids.named(true, self._key)
        found = facts.gathered(
            header,
            true=true,
            pseudonym=called.pseudonym,
            countable=called.countable,
            at_most=self._profile.age_at_most,
        )
        look = pixels.risk(sop_class, transfer_syntax_uid, dataset, self._profile.cleaned_pixels)
        size = pixels.accounted(
            header, rows=found["rows"], columns=found["columns"], frames=found["frames"]
        )
        decoded = frozenset(
            int(tag)
            for tag in elements.tags(dataset)
            if not elements.held(dataset, tag).is_raw and elements.held(dataset, tag).VR != "SQ"
        )
        charset, known = _charset(dataset, implicit=implicit)
        days = shift_days(called.root, self._shift_key, self._profile.shift_days_at_most)
        spare = layout(header)
        face = faces.risk(sop_class, header, remove=self._profile.removes_faces)
        patient = called.pseudonym
        return _Told(true, found, patient, days, look, size, spare, face, decoded, charset, known)

    def _writer(self, cut: Cut, told: _Told, iod: str, *, implicit: bool) -> Writer:
        key = (told.patient, iod, implicit, told.decoded, tuple(cut.telling))
        writer = self._writers.get(key)
        if writer is None:
            people = _people(cut.telling) if self._checked else NOBODY
            writer = Writer(
                Patient(told.patient, told.days, people, self._key, self._profile.age_at_most),
                iod=iod,
                plans=self._cutter.plans,
                implicit=implicit,
                decoded=told.decoded,
                checked=self._checked,
                weight=sum(PERSON_WEIGHS + len(raw) for _kind, raw, _ in cut.telling),
            )
            writer.used = next(self._clock)
            self._writers[key] = writer
            self._make_room()
        writer.used = next(self._clock)
        return writer

    def _make_room(self) -> None:
        """Forget whom nobody sent for longest, until the rest is within bounds."""
        latest_last = sorted(self._writers.copy().items(), key=lambda entry: entry[1].used)
        weight = sum(writer.weight for _, writer in latest_last)
        for left, (key, writer) in zip(range(len(latest_last), 0, -1), latest_last, strict=True):
            if left <= MOST_PATIENTS and weight <= MOST_BYTES:
                return
            self._writers.pop(key, None)
            weight -= writer.weight

    def _joined(
        self,
        tags: list[int],
        written: list[bytes],
        told: _Told,
        writer: Writer,
        *,
        wide: bool,
        implicit: bool,
    ) -> bytes:
        """Put in what the engine itself says, each element in its place, and join."""
        ours = dict(self._signs[implicit])
        if told.face.said:
            ours |= self._shown[implicit]
        charset = self._utf_8[implicit] if wide else told.charset
        if charset:
            ours[elements.CHARSET] = charset
        for tag in (actions.PATIENT_ID, actions.PATIENT_NAME):
            at = bisect_left(tags, tag)
            if at == len(tags) or tags[at] != tag or not written[at]:
                ours[tag] = writer.missing(tag)
        for tag in sorted(ours, reverse=True):
            at = bisect_left(tags, tag)
            if at < len(tags) and tags[at] == tag:
                written[at] = ours[tag]
            else:
                written.insert(at, ours[tag])
                tags.insert(at, tag)
        return b"".join(written)

    def _model(self, tags: list[int], written: list[bytes], *, implicit: bool) -> str:
        at = bisect_left(tags, MODEL)
        if at == len(tags) or tags[at] != MODEL or not written[at]:
            return ""
        if not implicit and written[at][4:6] not in SHORT_VRS:
            raise InDoubt("model")
        text = charsets.decode(written[at][8:], ("utf-8",)).strip("\0 ")
        return text.split("\\")[0].strip()


def _put(kept: dict[Any, Any], key: object, value: object, most: int) -> None:
    """Remember, in the place of the oldest; each step is atomic, for threads share this."""
    for oldest in list(kept)[: len(kept) - most + 1]:
        kept.pop(oldest, None)
    kept[key] = value


def _begin(header: bytes, *, implicit: bool) -> tuple[str, tuple[str, ...]]:
    """Read the SOP class and the charset, which decide how the rest is read."""
    encodings: tuple[str, ...] = UNSAID
    at = 0
    while at + 8 <= len(header):
        if implicit:
            group, number, length = _implicit(header, at)
            value = at + 8
        else:
            group, number, vr, length = _explicit(header, at)
            value = at + 8
            if vr in LONG_VRS:
                value = at + 12
                (length,) = _u32(header, at + 8)
        tag = group << 16 | number
        at = value + length
        if tag == elements.CHARSET:
            terms = charsets.decode(header[value:at], UNSAID).split("\\")
            encodings = charsets.encodings(tuple(terms)) if any(terms) else UNSAID
        if tag >= SOP_CLASS:
            if tag != SOP_CLASS:
                break
            uid = charsets.decode(header[value:at], encodings).strip("\0 ")
            return uid.split("\\")[0].strip(), encodings
    raise InDoubt("class")


def _check_tables(cut: Cut, *, implicit: bool) -> None:
    """Doubt where the reference engine would drop or refuse a lookup table."""
    asked = zip(cut.tags, cut.nodes, strict=True)
    raw = b"".join(n for tag, n in asked if tag in lookup.ASKED and isinstance(n, bytes))
    tables = read_dataset(BytesIO(raw), implicit, is_little_endian=True)
    sent = elements.tags(tables)
    lookup.check(tables)
    if elements.tags(tables) != sent:
        raise InDoubt("a table that does not fit")


def _people(telling: list[Telling]) -> names.Known:
    """Compile what names somebody, as `identity.gather` finds it."""
    found = names.Identity()
    for kind, raw, encodings in telling:
        values = [
            value.strip("\0 ")
            for reading in elements.readings(piece(0, None, raw), encodings)
            for value in reading.split("\\")
        ]
        if kind == "births":
            found.births.update(date for value in values if (date := parse_date(value)))
        else:
            getattr(found, kind).update(value for value in values if value)
    return names.known(*found.freeze())


def _signs(profile: Profile, *, implicit: bool) -> dict[int, bytes]:
    dataset = Dataset()
    sign(dataset, profile)
    return {int(tag): encoded(dataset, tag, implicit=implicit)[0] for tag in elements.tags(dataset)}


def _shown(*, implicit: bool) -> dict[int, bytes]:
    dataset = Dataset()
    faces.say_shown(dataset)
    return {int(tag): encoded(dataset, tag, implicit=implicit)[0] for tag in elements.tags(dataset)}


def _utf_8(*, implicit: bool) -> bytes:
    dataset = Dataset()
    dataset.SpecificCharacterSet = UTF_8
    return encoded(dataset, elements.CHARSET, implicit=implicit)[0]


def _charset(dataset: Dataset, *, implicit: bool) -> tuple[bytes, bool]:
    """Return (0008,0005) as it is written when all text stays ASCII."""
    if not elements.present(dataset, elements.CHARSET):
        return b"", True
    declared = Header(dataset, UNSAID).text("SpecificCharacterSet")
    if declared and not all(term in elements.CHARSETS for term in declared.split("\\")):
        return b"", False
    dataset.get("SpecificCharacterSet")  # writing decodes it
    return encoded(dataset, elements.CHARSET, implicit=implicit)[0], True
