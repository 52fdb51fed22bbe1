"""Faces in whole series: found once all slices are there, taken away slice by slice."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from gateway.deid.engine import Deidentified
from gateway.deid.face_finding import NoFace
from gateway.deid.face_header import say_faceless, say_removed
from gateway.deid.face_planes import Plane, Unplaced, planes_of
from gateway.deid.face_region import NotLikeTheRest, Region, region_of
from gateway.deid.face_volume import NoVolume, Survey
from gateway.deid.faces import Sight
from gateway.deid.pixel_frames import Form, Frames, Undecodable, Values
from gateway.deid.pixel_header import pixels_alone, put_native, put_same
from gateway.line.encoding import Syntax, encode
from gateway.line.pixel_look import Doubtful, Looker
from gateway.line.pixel_wire import Question
from gateway.model import PseudoUID
from gateway.store.faces import FaceRegions
from gateway.vault.entry import Reason

# A release of what was quarantined under this place is an operator's word that no face is seen.
FACE_PLACE = "(0028,0302)"
ADVICE = (
    "look at its pixels; release it only if no face can be seen in it or made of its series, else "
    "drop it"
)
WHOLE = (
    "drop the series, and have it sent again whole, with position, orientation and spacing in "
    f"every slice; or {ADVICE}"
)
FLAT = Reason("a face may be seen in it, and it is no slice of a volume", FACE_PLACE, ADVICE)
LATE = Reason(
    "it came after the face of its series was removed, and lies where none of the series lay",
    FACE_PLACE,
    f"{ADVICE}; have a scanner that is slow send a series at once, or raise `quiet_seconds` under "
    "[deid.faces]",
)


class FaceLook:
    """Knows where faces were found, and takes them away."""

    def __init__(
        self, regions: FaceRegions, decoder: Looker | None = None, *, ears: bool = False
    ) -> None:
        self._regions = regions
        self.ears = ears
        self._decoder = decoder  # None: what is compressed goes to an operator

    def region(self, series: PseudoUID) -> Region | None:
        return self._regions.of(series)

    def begin(self, stopping: Callable[[], bool]) -> "SeriesSurvey":
        return SeriesSurvey(self, self._regions, stopping)

    def clean(
        self,
        result: Deidentified,
        syntax: Syntax,
        region: Region,
        stopping: Callable[[], bool],
    ) -> Deidentified:
        """Return a slice without its part of the face; Doubtful where it has another geometry."""
        dataset, facts = result.dataset, result.facts
        planes = planes_or_doubt(result)
        syntax_uid = facts.transfer_syntax_uid
        try:
            masks = [region.mask(plane, frame_of(result)) for plane in planes]
        except NotLikeTheRest:
            raise Doubtful(LATE) from None
        say_faceless(dataset)
        if region.face is None or all(mask is None for mask in masks):
            return result
        native = not is_packed(result, syntax)
        frames = self.frames(result, syntax, stopping)
        for number, (plane, mask) in enumerate(zip(planes, masks, strict=True)):
            if mask is not None:
                values = frames.frame(number).copy()
                values[mask] = air(region.face.air, plane, frames)
                frames.put(number, values)
        say_removed(dataset)
        if native:
            put_same(dataset, frames.bytes(), dataset["PixelData"].VR)
            return result
        put_native(dataset, frames.bytes(), frames.photometric, syntax_uid)
        unpacked = replace(facts, transfer_syntax_uid=str(ExplicitVRLittleEndian))
        return replace(result, facts=unpacked)

    def frames(self, result: Deidentified, syntax: Syntax, stopping: Callable[[], bool]) -> Frames:
        """Return the stored values; Doubtful where they cannot be read."""
        try:
            return self._decoded(result, syntax, stopping)
        except Undecodable as fault:
            raise Doubtful(Reason(str(fault), FACE_PLACE, ADVICE)) from None

    def _decoded(
        self, result: Deidentified, syntax: Syntax, stopping: Callable[[], bool]
    ) -> Frames:
        alone, uid = pixels_alone(result.dataset), result.facts.transfer_syntax_uid
        if "PixelData" not in alone:
            raise Undecodable("it has no pixel data of a kind that is read")
        if is_packed(result, syntax):
            self._unpack(alone, syntax, uid, stopping)
            uid = str(ExplicitVRLittleEndian)
        form = Form.of(alone)
        if form.samples != 1:
            raise Undecodable("its slices are in colour, which is not read for faces")
        return Frames(alone, uid, form)

    def _unpack(
        self, alone: Dataset, syntax: Syntax, uid: str, stopping: Callable[[], bool]
    ) -> None:
        """Decode in a process of its own: codecs are native code that reads what strangers sent."""
        if self._decoder is None:
            raise Undecodable("its pixels are compressed, and nothing here decodes them")
        question = Question(encode(alone, syntax.encoding), uid, only_decode=True)
        answer = self._decoder.ask(question, stopping)
        if answer.doubt:
            raise Undecodable(answer.doubt)
        put_native(alone, answer.pixels, answer.photometric, uid)


class SeriesSurvey:
    """Looks at one slice after the other; knows no more of each than a coarse sketch."""

    def __init__(self, look: FaceLook, regions: FaceRegions, stopping: Callable[[], bool]) -> None:
        self._look = look
        self._regions = regions
        self._stopping = stopping
        self._survey = Survey()
        self._fault: Reason | None = None
        self._too_many: Reason | None = None
        self._is_ct = False
        self._sure = False

    def add(self, result: Deidentified, syntax: Syntax) -> None:
        """Take a slice into account; one that cannot be read is told of when it is settled."""
        if self._too_many is not None:
            return
        try:
            planes = planes_or_doubt(result)
            frames = self._look.frames(result, syntax, self._stopping)
            for number, plane in enumerate(planes):
                self._survey.add(plane, frames.frame(number), frame_of(result))
        except Doubtful as doubt:
            self._fault = self._fault or doubt.reason
            return
        except NoVolume as fault:
            self._too_many = no_volume(fault)
            return
        self._is_ct = self._is_ct or result.facts.modality == "CT"
        self._sure = self._sure or result.face.seen is Sight.NAMED

    def _found(self) -> Region:
        return region_of(
            self._survey, is_ct=self._is_ct, sure=self._sure, with_ears=self._look.ears
        )

    def finish(self, series: PseudoUID) -> Reason | None:
        """Decide, and keep what was found; a reason where nobody can say what the series shows."""
        if self._too_many is not None:
            return self._too_many
        if not self._survey:
            return self._fault or FLAT
        try:
            region = self._found()
        except NoVolume as fault:
            return no_volume(fault)
        except NoFace as fault:
            return Reason(f"its series may show a face, and {fault}", FACE_PLACE, ADVICE)
        self._regions.keep(series, region)
        return None


def no_volume(fault: NoVolume) -> Reason:
    return Reason(f"no volume can be made of its series: {fault}", FACE_PLACE, WHOLE)


def planes_or_doubt(result: Deidentified) -> list[Plane]:
    if result.face.flat:
        raise Doubtful(FLAT)
    try:
        return planes_of(result.dataset)
    except Unplaced as fault:
        raise Doubtful(Reason(f"it may show a face, and {fault}", FACE_PLACE, WHOLE)) from None


def frame_of(result: Deidentified) -> str:
    return str(result.dataset.get("FrameOfReferenceUID") or "")


def is_packed(result: Deidentified, syntax: Syntax) -> bool:
    """Say whether its pixels are compressed still: a look for text may have unpacked them."""
    return syntax.encapsulated and result.facts.transfer_syntax_uid != ExplicitVRLittleEndian


def air(value: float, plane: Plane, frames: Frames) -> Values:
    """Return the stored value of air, as far as this slice can hold it."""
    form = frames.form
    low = -(1 << (form.stored - 1)) if form.signed else 0
    high = low + (1 << form.stored) - 1
    stored = round((value - plane.intercept) / plane.slope)
    found: Values = np.array(min(max(stored, low), high))
    return found
