"""Which part of the body and whose device: free text, in Chinese and English, to public words.

The index and the filter language read by it alike: what is stored and what is asked for meet.
"""

import re
from collections.abc import Iterable

from protos.vocabulary import BODY_PARTS, OTHER

# In the order they are asked: `CSPINE` before `SPINE`, `BRAIN` before `HEAD`.
PARTS: tuple[tuple[str, str], ...] = (
    ("WHOLEBODY", r"WHOLE ?BODY|TOTAL ?BODY|WB(?![A-Z])|全身|躯干"),
    ("CSPINE", r"C[- ]?SPINE|CERVICAL ?SP|CERVICAL|颈椎"),
    ("TSPINE", r"T[- ]?SPINE|THORACIC ?SP|DORSAL ?SP|胸椎"),
    ("LSPINE", r"L[- ]?SPINE|LUMBAR|LUMBO|SSPINE|SACR|腰椎|腰骶|骶"),
    ("SPINE", r"SPINE|SPINAL|VERTEBRA|脊柱|脊椎|脊髓"),
    ("BREAST", r"BREAST|MAMM|乳腺|乳房|钼靶"),
    ("HEART", r"HEART|CARDIA|CORONARY|CTCA|MYOCARD|心脏|冠脉|冠状动脉|心肌"),
    ("BRAIN", r"BRAIN|CEREBR|NEURO|PITUITARY|HIPPOCAMP|脑|垂体|海马"),
    ("NECK", r"NECK|CAROTID|THYROID|LARYN|颈部|颈动脉|甲状腺|喉|颈"),
    ("HEAD", r"HEAD|SKULL|SINUS|ORBIT|FACE|FACIAL|TEMPORAL|IAC(?![A-Z])|JAW|MANDIB|DENTAL|TMJ"),
    ("HEAD", r"头|颅|鼻|眼|颞|颌|口腔|牙|耳"),
    ("CHEST", r"CHEST|THORA(?:X|C)|LUNG|PULMON|RIB(?![A-Z])|STERN|胸|肺|肋|纵隔"),
    ("PELVIS", r"PELVI|BLADDER|PROSTATE|UTER|OVAR|RECT(?:UM|AL)|盆|膀胱|前列腺|子宫|卵巢|直肠"),
    ("ABDOMEN", r"ABDOM|ABD(?![A-Z])|LIVER|HEPAT|KIDNEY|RENAL|PANCREA|SPLEEN|GALL|MRCP|KUB"),
    ("ABDOMEN", r"UROGR|ADRENAL|腹|肝|肾|胰|脾|胆|泌尿"),
    ("SHOULDER", r"SHOULDER|CLAVIC|SCAPUL|肩|锁骨"),
    ("ELBOW", r"ELBOW|肘"),
    ("HAND", r"HAND|WRIST|FINGER|THUMB|手|腕|指"),
    ("HIP", r"HIP(?![A-Z])|髋"),
    ("KNEE", r"KNEE|PATELLA|MENISC|膝|髌"),
    ("ANKLE", r"ANKLE|踝"),
    ("FOOT", r"FOOT|FEET|TOE(?![A-Z])|CALCAN|HEEL|足|跟骨|趾"),
    ("EXTREMITY", r"EXTREM|ARM(?![A-Z])|LEG(?![A-Z])|FEMUR|TIBIA|FIBULA|HUMER|RADIUS|ULNA"),
    ("EXTREMITY", r"FOREARM|THIGH|CALF|四肢|上肢|下肢|大腿|小腿|前臂|股骨|胫|肱骨|尺骨|桡骨"),
)  # fmt: skip
PATTERNS = tuple((part, re.compile(r"(?<![A-Z])(?:" + pattern + ")")) for part, pattern in PARTS)
# A head, and whatever is scanned with a part of the face in sight.
FACIAL = frozenset({"HEAD", "BRAIN", "NECK", "CSPINE", "WHOLEBODY"})
# Heads and necks of bones and organs, and how a patient lies: no face is near.
NO_HEAD = re.compile(
    r"(FEM(?:ORAL|UR)|HUMER(?:AL|US)|RADI(?:AL|US)|PANCREA(?:TIC|S)|BLADDER)[ -]?(?:HEAD|NECK)"
    r"|(股骨|肱骨|桡骨|腓骨|胰|跖骨|掌骨|膀胱)[头颈]|(?<=宫)颈|头(?:静脉|臂)"
    r"|HEAD[ -]?FIRST|CERVICAL CA(?:NCER)?(?![A-Z])"
)
MAKERS: tuple[tuple[str, str], ...] = (
    ("SYNTHETIC", r"SYNTHETIC"),
    ("GE", r"\bGE\b|GENERAL ELECTRIC|GEMS|GE[ _]?HEALTHCARE"),
    ("SIEMENS", r"SIEMENS|西门子"),
    ("PHILIPS", r"PHILIPS|PICKER|MARCONI|飞利浦"),
    ("CANON", r"CANON|佳能"),
    ("TOSHIBA", r"TOSHIBA|东芝"),
    ("UNITED IMAGING", r"\bUIH\b|UNITED ?IMAGING|联影"),
    ("NEUSOFT", r"NEUSOFT|东软"),
    ("MINDRAY", r"MINDRAY|迈瑞"),
    ("WANDONG", r"WANDONG|WDM|万东"),
    ("FUJIFILM", r"FUJI|富士"),
    ("HITACHI", r"HITACHI|ALOKA|日立"),
    ("HOLOGIC", r"HOLOGIC|LORAD|豪洛捷"),
    ("AGFA", r"AGFA|爱克发"),
    ("CARESTREAM", r"CARESTREAM|KODAK|锐珂"),
)
MAKER_PATTERNS = tuple((maker, re.compile(pattern)) for maker, pattern in MAKERS)


def body_part(coded: str, texts: Iterable[str]) -> str:
    """Return the coded part; else what the texts, in their order, first name; OTHER, or empty."""
    spelt = _flat(coded).replace(" ", "")
    if spelt in BODY_PARTS:
        return spelt
    for text in (coded, *texts):
        flat = _flat(text)
        for part, pattern in PATTERNS:
            if flat and pattern.search(flat):
                return part
    return OTHER if spelt else ""


def shows_face(coded: str, texts: Iterable[str]) -> bool | None:
    """Say whether any word names what is scanned with the face; None where none names a part."""
    named = False
    for text in (coded, *texts):
        flat = NO_HEAD.sub(r"\1\2", _flat(text))
        found = {part for part, pattern in PATTERNS if flat and pattern.search(flat)}
        if found & FACIAL or flat.replace(" ", "") in FACIAL:
            return True
        named = named or bool(found) or flat.replace(" ", "") in BODY_PARTS
    return False if named else None


def manufacturer(text: str) -> str:
    """Return the maker's public name; OTHER for one the vocabulary lacks, empty for none."""
    flat = _flat(text)
    return next(
        (maker for maker, pattern in MAKER_PATTERNS if pattern.search(flat)), OTHER if flat else ""
    )


def _flat(text: str) -> str:
    return re.sub(r"[_\s]+", " ", text).strip().upper()
