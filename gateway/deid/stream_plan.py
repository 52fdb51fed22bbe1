"""What becomes of each attribute of each VR in each scope: asked of the rulebook once."""

from dataclasses import dataclass
from struct import Struct
from typing import Final

from pydicom.datadict import (
    dictionary_has_tag,
    dictionary_VR,
    tag_for_keyword,
)

from gateway.deid import elements, identity, lookup
from gateway.deid.rules import Action, Decision, Rulebook
from gateway.deid.walk import LONG_VRS, SHORT, SHORT_VRS

_tag = Struct("<HH").unpack_from

# What `facts` and `pixels` read, less what differs by instance.
_FACTS = """
SpecificCharacterSet SOPClassUID PatientID IssuerOfPatientID StudyInstanceUID SeriesInstanceUID
StudyDate SeriesDate AcquisitionDate ContentDate Modality ProtocolName SeriesDescription
StudyDescription RequestedProcedureDescription PerformedProcedureStepDescription
AnatomicRegionSequence PrimaryAnatomicStructureSequence BodyPartExamined PatientSex PatientAge
PatientBirthDate Manufacturer ManufacturerModelName SliceThickness Rows Columns NumberOfFrames
BurnedInAnnotation ImageType SamplesPerPixel BitsAllocated PhotometricInterpretation
BitsStored HighBit PixelRepresentation
"""
FACTS: Final = frozenset(
    tag for keyword in _FACTS.split() if (tag := tag_for_keyword(keyword)) is not None
)
SOP_UID: Final = 0x00080018
INSTANCE_NUMBER: Final = 0x00200013
INSTANCE: Final = frozenset({SOP_UID, INSTANCE_NUMBER})

Scope = tuple[str, int | None]  # IOD, and the sequence whose items these are; None at the root


class InDoubt(Exception):
    """The reference engine must look at this one; the text says where in the code, no value."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of one attribute of one VR in one scope: made once, looked up after."""

    tag: int
    vr: str | None
    long: bool  # its length has four bytes, behind two reserved ones
    drop: bool  # nobody needs it: passed over
    keep: bool  # something of it may be written
    nested: bool  # its value is items
    decision: Decision
    kind: str | None  # of what names somebody
    fact: bool


class Plans(dict[bytes, Plan]):
    """The table of one scope, filled as attributes are met."""

    def __init__(self, rules: Rulebook, scope: Scope, retained: frozenset[int]) -> None:
        super().__init__()
        self._rules = rules
        self._scope = scope
        self._retained = retained

    def __missing__(self, head: bytes) -> Plan:
        plan = self[head] = self._plan(head)
        return plan

    def decide(self, tag: int) -> Decision:
        """Decide for an attribute that was not sent."""
        return self._rules.decide(*self._scope, tag, None)

    def _plan(self, head: bytes) -> Plan:
        group, number = _tag(head, 0)
        tag = group << 16 | number
        if self._rules.may_keep_private(tag):
            raise InDoubt("a private element that may stay")
        implicit = len(head) == SHORT // 2
        code = None if implicit else head[4:6]
        if code is not None and code not in SHORT_VRS and code not in LONG_VRS:
            raise InDoubt("VR")
        vr = None if code is None else code.decode("ascii")
        likely = vr if vr not in (None, "UN") else _dictionary(tag)
        iod, sequence = self._scope
        at_root = sequence is None
        decision = self._rules.decide(iod, sequence, tag, vr)
        keep = decision.action is not Action.REMOVE and not (at_root and tag == elements.CHARSET)
        kind = "people" if likely == "PN" else identity.kinds().get(tag)
        if tag in self._retained or likely == "SQ":
            kind = None
        nested = likely == "SQ"
        if nested and decision.vr != "SQ" and decision.action is not Action.REMOVE:
            raise InDoubt("a sequence treated as none")
        if keep and decision.vr == "SQ" and not nested:
            raise InDoubt("no sequence treated as one")
        peek = likely is None  # private or unknown, and no VR says what it is
        fact = at_root and tag in FACTS
        special = tag == elements.CHARSET or tag in INSTANCE
        drop = not (keep or nested or kind or peek or fact or (special and at_root))
        if keep and tag == elements.CHARSET:
            raise InDoubt("a kept charset of an item")
        if keep and not at_root and tag in lookup.CHECKED:
            raise InDoubt("a table that must fit its descriptor")
        if not at_root and tag == elements.CHARSET:
            drop = False
        return Plan(
            tag,
            vr,
            long=code is not None and code in LONG_VRS,
            drop=drop,
            keep=keep,
            nested=nested,
            decision=decision,
            kind=kind,
            fact=fact,
        )


def _dictionary(tag: int) -> str | None:
    return dictionary_VR(tag) if dictionary_has_tag(tag) else None
