"""Which action falls on which attribute: the profile read against PS3.15 Table E.1-1 and PS3.3."""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

from pydicom.datadict import dictionary_has_tag, dictionary_VR, tag_for_keyword

from gateway.deid import tables
from gateway.deid.profile import Profile

TEXT = frozenset({"LO", "SH", "ST", "LT", "UT", "UC", "UR"})
NARRATIVE = frozenset({"ST", "LT", "UT"})
DATES = frozenset({"DA", "DT", "TM"})
NUMBERS = frozenset({"US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT"})
WRITTEN_NUMBERS = frozenset({"DS", "IS"})
BULK = frozenset({"OB", "OW", "OF", "OD", "OL", "OV"})
REQUIRED = ("1", "1C")
# Bytes that are the image, the signal or a table of numbers; any other bytes are opaque, and go.
SAFE_BULK = """
PixelData FloatPixelData DoubleFloatPixelData ExtendedOffsetTable ExtendedOffsetTableLengths
LUTData AlphaPaletteColorLookupTableData BlendingLookupTableData
RedPaletteColorLookupTableData GreenPaletteColorLookupTableData
BluePaletteColorLookupTableData SegmentedAlphaPaletteColorLookupTableData
SegmentedRedPaletteColorLookupTableData SegmentedGreenPaletteColorLookupTableData
SegmentedBluePaletteColorLookupTableData ICCProfile SpectroscopyData WaveformData
WaveformPaddingValue ChannelMinimumValue ChannelMaximumValue FilterLookupTableData
FirstOrderPhaseCorrectionAngle PointCoordinatesData DoublePointCoordinatesData
LongPrimitivePointIndexList AnnotationIndexList LongEdgePointIndexList
LongTrianglePointIndexList LongVertexPointIndexList TrackPointIndexList
VectorGridData VectorCoordinateData FloatingPointValues BlockEdgeData
"""


# What an image was made with: devices write it at the root of enhanced objects, into functional
# groups that have it under another, and into classes that lack it. Only numbers, each looked at.
MEASURED = (NUMBERS | WRITTEN_NUMBERS) - {"AT"}
MEASURING = frozenset({0x0018, 0x0054})
FRAMES = 0x00209  # (0020,9xxx): where and when a frame was taken
GEOMETRY = """
ImagePositionPatient ImageOrientationPatient SliceLocation TemporalPositionIdentifier
NumberOfTemporalPositions TemporalResolution ImagesInAcquisition PixelSpacing PixelAspectRatio
WindowCenter WindowWidth RescaleIntercept RescaleSlope DataPointRows DataPointColumns
"""


# What an examination was, and when: a PACS or a device adds it to any image, and it is treated as
# where an IOD has it.
ANYWHERE = """
StudyDescription SeriesDescription ProtocolName RequestedProcedureDescription
PerformedProcedureStepDescription ScheduledProcedureStepDescription ContrastBolusAgent
AcquisitionDeviceProcessingDescription SequenceName AcquisitionDate AcquisitionTime
AcquisitionDateTime ContentDate ContentTime
"""


class Action(StrEnum):
    """The codes of PS3.15 Table E.1-1a."""

    DUMMY = "D"
    ZERO = "Z"
    REMOVE = "X"
    KEEP = "K"
    CLEAN = "C"
    UID = "U"


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to one attribute in one place, by which rule, and why."""

    action: Action
    vr: str
    rule: str
    why: str
    required: bool = False  # type 1: may not end up empty


@cache
def _tags(*keywords: str) -> frozenset[int]:
    return frozenset(tag for keyword in keywords if (tag := tag_for_keyword(keyword)) is not None)


@cache
def _safe_text() -> frozenset[int]:
    text = (resources.files("gateway.deid") / "safe_text.csv").read_text("utf-8")
    return _tags(*(line for line in text.split() if tag_for_keyword(line) is not None))


PRIVATE = ("PS3.15 E.1-1", "private attribute")
# What Table E.1-1 does not list, by its VR.
UNLISTED = {
    "SQ": (Action.KEEP, "its items are treated one by one"),
    "UI": (Action.UID, "any UID may be an instance's; the standard's own stay"),
    **dict.fromkeys(NUMBERS | WRITTEN_NUMBERS | {"CS"}, (Action.KEEP, "a number or a code")),
}


# What an option does to dates Table E.1-1 does not list: as to those it lists.
TEMPORAL = (
    ("retain_longitudinal_full_dates", Action.KEEP),
    ("retain_longitudinal_modified_dates", Action.CLEAN),
)


class Rulebook:
    """The profile as a function from (IOD, sequence, tag, VR) to an action; answers are kept."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._tables = profile.tables
        self.keeps_private = profile.options.retain_safe_private
        self._private = frozenset(
            (group, number) for group, _, number in self._tables.private or ()
        )
        self._safe_text = _safe_text()
        self._safe_bulk = _tags(*SAFE_BULK.split())
        self._known: dict[tuple[str, int | None, int, str | None, str | None], Decision] = {}

    def iod(self, sop_class_uid: str) -> str | None:
        return self._tables.iods.iod(sop_class_uid)

    def decide(
        self, iod: str, sequence: int | None, tag: int, vr: str | None, creator: str | None = None
    ) -> Decision:
        """Decide for the attribute `tag`, sent as `vr`, at the root or in items of `sequence`.

        `creator` is whose private attribute it is, where the profile may keep such.
        """
        tag = int(tag)  # pydicom's tags compare slowly
        key = (iod, sequence, tag, vr, creator)
        known = self._known.get(key)
        if known is None:
            if creator is not None and self.keeps_private:
                known = self._decide_private(tag, vr, creator)
            else:
                known = self._decide(iod, sequence, tag, vr)
            self._known[key] = known
        return known

    def may_keep_private(self, tag: int) -> bool:
        """Tell a private attribute that depends on its creator."""
        return self.keeps_private and (tag >> 16, tag & 0xFF) in self._private

    def _decide_private(self, tag: int, vr: str | None, creator: str) -> Decision:
        """Keep what Table E.3.10-1 knows to name nobody, cleaned by its VR."""
        known = self._tables.safe_private(creator, tag)
        if known is None:
            return Decision(Action.REMOVE, vr or "UN", *PRIVATE)
        if vr not in (None, "", "UN", known.vr):
            return Decision(
                Action.REMOVE, vr, "PS3.15 E.3.10-1", "sent with a VR the table does not give"
            )
        action = self._private_action(known.vr)
        why = "option retain_safe_private"
        if action is Action.REMOVE:
            why = f"safe, but a {known.vr} cannot be cleaned or is not chosen by an option"
        return Decision(action, known.vr, "PS3.15 E.3.10-1", why)

    def _private_action(self, vr: str) -> Action:
        options = self._profile.options
        if vr in NUMBERS | WRITTEN_NUMBERS | {"CS"}:
            return Action.KEEP
        if vr == "UI":
            return Action.KEEP if options.retain_uids else Action.UID
        if vr in DATES and options.retain_longitudinal_full_dates:
            return Action.KEEP
        if vr in TEXT or (vr in DATES and options.retain_longitudinal_modified_dates):
            return Action.CLEAN
        return Action.REMOVE

    def _decide(self, iod: str, sequence: int | None, tag: int, vr: str | None) -> Decision:
        group = tag >> 16
        if outside := _outside(group, tag):
            return Decision(Action.REMOVE, vr or "UN", *outside)
        meant = meant_vr(tag, vr)
        if meant is None:
            return Decision(
                Action.REMOVE, vr or "UN", "structure", "sent with a VR the standard does not give"
            )
        iods = self._tables.iods
        types = iods.root(iod) if sequence is None else iods.items(sequence)
        of_type = types.get(tag)
        if of_type is None and tag in _tags(*ANYWHERE.split()) and iods.is_image(iod):
            of_type = "3"
        if of_type is None:
            return self._elsewhere(iod, tag, meant)
        required = of_type in REQUIRED
        if override := self._profile.overrides.get(tag):
            action = Action(override.action)
            return Decision(
                action, meant, f"profile {self._profile.name}", override.reason, required
            )
        row = self._tables.profile.get(tag)
        if row is not None:
            action, why = self._listed(row, meant, of_type)
            return Decision(action, meant, "PS3.15 E.1-1", why, required)
        action, why = self._unlisted(tag, meant, of_type)
        return Decision(action, meant, "not in PS3.15 E.1-1", why, required)

    def _elsewhere(self, iod: str, tag: int, vr: str) -> Decision:
        """Decide for what the IOD does not have in this place."""
        if self._measures(iod, tag, vr):
            why = "geometry, dose or timing, wherever a device puts it"
            return Decision(Action.KEEP, vr, "allow-list", why)
        why = f"the {iod} IOD does not have it here"
        return Decision(Action.REMOVE, vr, "allow-list", why)

    def _measures(self, iod: str, tag: int, vr: str) -> bool:
        """Tell a number an image was made with, where its IOD has it elsewhere or not at all."""
        return (
            vr in MEASURED
            and (tag >> 16 in MEASURING or tag >> 12 == FRAMES or tag in _tags(*GEOMETRY.split()))
            and tag not in self._tables.profile
            and tag not in self._profile.overrides
            and self._tables.iods.is_image(iod)
        )

    def without_overrides(self, tag: int, vr: str, of_type: str) -> Action:
        """Return what the profile would do to an attribute if it made no exception for it."""
        row = self._tables.profile.get(tag)
        found = self._listed(row, vr, of_type) if row else self._unlisted(tag, vr, of_type)
        return found[0]

    def _listed(self, row: tables.Row, vr: str, of_type: str) -> tuple[Action, str]:
        options = self._profile.options
        chosen = {name: code for name, code in row.options.items() if getattr(options, name)}
        # The most protective one: a true calibration date would give the shift away.
        for name, code in sorted(chosen.items(), key=lambda pair: "CK".index(pair[1])):
            if code == "C" and vr in NARRATIVE and self._profile.narrative == "remove":
                continue
            if code == "C" and vr in BULK:
                continue  # bytes cannot be cleaned
            return Action(code), f"option {name}"
        return resolve(row.basic, of_type), f"Basic Profile {row.basic}, type {of_type}"

    def _unlisted(self, tag: int, vr: str, of_type: str) -> tuple[Action, str]:
        options = self._profile.options
        if vr == "UI" and options.retain_uids:
            return Action.KEEP, "option retain_uids"  # else references would not meet
        if vr in UNLISTED:
            return UNLISTED[vr]
        if tag in self._safe_text and vr in TEXT:
            return Action.CLEAN, "describes the device or the method"
        if tag in self._safe_bulk and vr in BULK:
            return Action.KEEP, "image, signal or a table of numbers"
        for option, action in TEMPORAL if vr in DATES else ():
            if getattr(options, option):
                return action, f"option {option}"
        return resolve("X/Z/D", of_type), f"not known to be safe, type {of_type}"


def resolve(code: str, of_type: str) -> Action:
    """Choose among a conditional code by the attribute's type in its IOD (PS3.15 E.1.1, a-e)."""
    choices = [Action(part.rstrip("*")) for part in code.split("/")]
    if of_type in REQUIRED:
        wanted = (Action.DUMMY, Action.UID, Action.ZERO, Action.REMOVE)
    elif of_type.startswith("2"):
        wanted = (Action.ZERO, Action.DUMMY, Action.UID, Action.REMOVE)
    else:
        wanted = (Action.REMOVE, Action.ZERO, Action.DUMMY, Action.UID)
    return next(action for action in (*wanted, *choices) if action in choices)


@cache
def meant_vr(tag: int, sent: str | None) -> str | None:
    """Return the VR to treat an attribute by; None when what was sent cannot be what was meant.

    In implicit VR, and where a VR was unknown to a device on the way (UN), the dictionary says:
    what is a sequence there is a sequence, whatever its bytes were called.
    """
    possible = re.split(" or ", dictionary_VR(tag))
    if sent in (None, "", "UN"):
        return possible[0]
    if sent in possible:
        return sent
    if "SQ" in (*possible, sent):
        return None
    binary = NUMBERS | BULK
    if (sent in binary) != (possible[0] in binary):
        return None
    return sent if sent in TEXT | DATES | binary else possible[0]


def _outside(group: int, tag: int) -> tuple[str, str] | None:
    """Say why a tag goes before any table is asked."""
    if group % 2:
        return PRIVATE
    if 0x5000 <= group <= 0x50FF:  # noqa: PLR2004 - PS3.5 7.6
        return "PS3.15 E.1-1", "curve"
    if 0x6000 <= group <= 0x60FF:  # noqa: PLR2004 - PS3.5 7.6
        return "PS3.15 E.1-1", "overlay: it may be drawn text"
    if tag & 0xFFFF == 0:
        return "PS3.5 7.2", "group length"
    if not dictionary_has_tag(tag):
        return "allow-list", "unknown attribute"
    return None
