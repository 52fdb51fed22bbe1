"""Which images may show a face once they are put together: decided by class and header alone."""

import re
from dataclasses import dataclass
from enum import StrEnum

from pydicom.dataset import Dataset

from gateway.config import Settings
from gateway.deid.facts import ANATOMY, SPEAKING, Header
from protos import anatomy

STORAGE = "1.2.840.10008.5.1.4.1.1."
# CT and MR, single-frame, enhanced and legacy converted; cone beams of head and teeth.
VOLUMES = frozenset(
    STORAGE + suffix for suffix in ("2", "2.1", "2.2", "4", "4.1", "4.3", "4.4", "13.1.1", "13.1.2")
)
# No slices, whatever their header says of planes: nothing can be found or removed in them.
FLAT = re.compile(
    r"LOCALIZER|MOSAIC|PROJECTION|MAX_IP|MIN_IP"
    r"|(?<![A-Z])(?:MIP|MINIP|VRT|VOLREN|VOLUME REND|SSD|CPR)"
)
SURVEY = "LOCALIZER"  # of a CT: a radiograph. Of an MR: slices


class FaceSettings(Settings):
    """What goes, where a profile has `clean_recognizable_visual_features`."""

    ears: bool = False


class Sight(StrEnum):
    """What the words of a header say."""

    NAMED = "named"  # of a head, a neck, or a body with both
    DOUBTFUL = "doubtful"  # they name no part
    NONE = "none"  # not of a class, or of another part


@dataclass(frozen=True, slots=True)
class FaceRisk:
    """What a header tells of a face."""

    seen: Sight = Sight.NONE  # other than NONE: it is to be removed
    flat: bool = False
    said: bool = False  # whether the instance says so of itself


NOTHING = FaceRisk()


def sight(sop_class_uid: str, header: Header) -> Sight:
    """Say whether slices of this kind may be put together to a face."""
    if sop_class_uid not in VOLUMES:
        return Sight.NONE
    meanings = [text for keyword in ANATOMY for text in header.meanings(keyword)]
    texts = [*meanings, *(header.text(keyword) for keyword in SPEAKING)]
    shown = anatomy.shows_face(header.first("BodyPartExamined"), texts)
    if shown is None:
        return Sight.DOUBTFUL
    return Sight.NAMED if shown else Sight.NONE


def risk(sop_class_uid: str, header: Header, *, remove: bool) -> "FaceRisk":
    """Decide what is to be done about a face, and what is said of it."""
    if sop_class_uid not in VOLUMES:
        return NOTHING
    seen = sight(sop_class_uid, header)
    flat = is_flat(header)
    return FaceRisk(
        seen=seen if remove and header.small("Rows") else Sight.NONE,
        flat=flat,
        said=seen is Sight.NAMED and not flat,
    )


def say_shown(dataset: Dataset) -> None:
    """Say that a face may be recognised (PS3.3 C.7.6.1.1.13)."""
    dataset.RecognizableVisualFeatures = "YES"


def is_flat(header: Header) -> bool:
    """Tell projections, mosaics and pictures of volumes from slices."""
    kinds = header.text("ImageType").upper()
    if header.first("Modality").upper() == "MR":
        kinds = kinds.replace(SURVEY, "")
    return FLAT.search(kinds) is not None
