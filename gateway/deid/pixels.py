"""Which pixels may carry burned-in text: decided by class and header, no pixel is looked at."""

import re
from dataclasses import dataclass
from enum import StrEnum

from pydicom.dataset import Dataset

from gateway.deid import elements
from gateway.deid.facts import Header
from gateway.deid.pixel_rules import PixelSettings, known_regions

STORAGE = "1.2.840.10008.5.1.4.1.1."
# Nothing here can be looked through for text: the whole instance is refused.
OPAQUE = {
    STORAGE + "104.1": "an encapsulated PDF",
    STORAGE + "104.2": "an encapsulated CDA document",
    STORAGE + "104.3": "an encapsulated STL model",
    STORAGE + "104.4": "an encapsulated OBJ model",
    STORAGE + "104.5": "an encapsulated MTL file",
    STORAGE + "66": "raw data of a vendor's own form",
    STORAGE + "9.4.1": "a recorded voice",
    STORAGE + "9.4.2": "a recorded voice or sound",
}
# A screen, a scan of paper or a photograph, whatever its header claims of itself.
SCREENS = {
    STORAGE + "7": "a secondary capture",
    STORAGE + "7.1": "a secondary capture",
    STORAGE + "7.2": "a secondary capture",
    STORAGE + "7.3": "a secondary capture",
    STORAGE + "7.4": "a secondary capture",
    STORAGE + "77.1.1.1": "a video",
    STORAGE + "77.1.2.1": "a video",
    STORAGE + "77.1.4.1": "a video",
}
# Devices that draw a banner into the picture unless the header says they did not.
BANNERS = {
    STORAGE + "3": "ultrasound",
    STORAGE + "3.1": "ultrasound",
    STORAGE + "6": "ultrasound",
    STORAGE + "6.1": "ultrasound",
    STORAGE + "77.1.1": "a photograph through an endoscope",
    STORAGE + "77.1.2": "a photograph through a microscope",
    STORAGE + "77.1.4": "a photograph",
    STORAGE + "77.1.5.1": "a photograph of the eye",
    STORAGE + "77.1.5.4": "an ophthalmic tomogram",
}
# Devices that seldom draw into the picture: looked at only where text is looked for.
SELDOM = {
    STORAGE + "12.1": "an angiogram",
    STORAGE + "12.1.1": "an angiogram",
    STORAGE + "12.2": "a fluoroscopy",
    STORAGE + "12.2.1": "a fluoroscopy",
}
MAPS = frozenset(
    STORAGE + suffix
    for suffix in ("11.6", "11.7", "30", "66.4", "66.5", "66.7", "481.2", "77.1.6", "77.1.8")
)
VIDEO = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.10[0-8](?:\.1)?|1\.2\.840\.10008\.1\.2\.7\..*")
SCREEN_WORDS = re.compile(
    r"SCREEN|SECONDARY CAPTURE|CAPTURE|DOSE.?(?:INFO|REPORT|SHEET)|REPORT|SUMMARY", re.IGNORECASE
)
SLIDES = STORAGE + "77.1.6"
LABEL_WORDS = frozenset({"LABEL", "OVERVIEW", "THUMBNAIL"})  # of a slide: its paper label in sight
GREY_ONLY = frozenset(
    STORAGE + suffix
    for suffix in ("1", "1.1", "1.1.1", "1.2", "1.2.1", "2", "4", "12.1", "12.2", "20", "128")
)
COLOURS = 3
SUBSAMPLED = frozenset(
    {"YBR_FULL_422", "YBR_PARTIAL_422"}
)  # two values a pixel (PS3.3 C.7.6.3.1.2)


class RiskKind(StrEnum):
    SCREEN = "screen"  # a screen, a scan of paper, a report: text is what it is made of
    VIDEO = "video"  # no frame of it is looked at
    DECLARED = "declared"  # the header says that text is burned in
    BANNER = "banner"  # the device draws one, and the header does not say that it did not
    DEVICE = "device"  # a rule names regions of it
    UNSEEN = "unseen"  # probably clean: kept unseen where nobody can look


@dataclass(frozen=True, slots=True)
class Risk:
    """Why pixels need a look before anything is kept."""

    why: str
    kind: RiskKind


def is_opaque(sop_class_uid: str) -> bool:
    return sop_class_uid in OPAQUE


def risk(
    sop_class_uid: str,
    transfer_syntax_uid: str,
    dataset: Dataset,
    settings: PixelSettings | None = None,
) -> Risk | None:
    """Say why the pixels need a look before anything is kept; None where the class is safe.

    With settings, text is looked for: then a header that says there is none is not believed.
    """
    if "Rows" not in dataset and sop_class_uid not in SCREENS:
        return None
    burned = _first(dataset, "BurnedInAnnotation").upper()
    if VIDEO.fullmatch(transfer_syntax_uid):
        return Risk("a video may show a name", RiskKind.VIDEO)
    if why := _screen(sop_class_uid, dataset):
        return Risk(why, RiskKind.SCREEN)
    if burned == "YES":
        return Risk("the header says text is burned into the pixels", RiskKind.DECLARED)
    if sop_class_uid in BANNERS and burned != "NO":
        why = f"{BANNERS[sop_class_uid]}, and the header does not say that no text is burned in"
        return Risk(why, RiskKind.BANNER)
    return None if settings is None else _unseen(sop_class_uid, dataset, settings)


def _unseen(sop_class_uid: str, dataset: Dataset, settings: PixelSettings) -> Risk | None:
    if known_regions(settings, dataset):
        return Risk("its device is known to print into its images", RiskKind.DEVICE)
    what = BANNERS.get(sop_class_uid) or SELDOM.get(sop_class_uid)
    if what is None and settings.look_at == "all" and _is_picture(sop_class_uid, dataset):
        what = "an image of any kind"
    return Risk(f"{what} may show a name", RiskKind.UNSEEN) if what else None


def _is_picture(sop_class_uid: str, dataset: Dataset) -> bool:
    """Tell what a device took from maps, masks and doses, where no device writes."""
    return "PhotometricInterpretation" in dataset and sop_class_uid not in MAPS


def accounted(header: Header, *, rows: int | None, columns: int | None, frames: int) -> int:
    """Return how long native Pixel Data may be by its header (PS3.5 8.1.1, 8.2), its pad included.

    Bits follow one another across pixels and frames, so that only the whole is rounded up. What is
    missing or damaged accounts for nothing.
    """
    samples = header.small("SamplesPerPixel", absent=1)
    bits = (rows or 0) * (columns or 0) * frames * samples * header.small("BitsAllocated")
    if header.first("PhotometricInterpretation") in SUBSAMPLED:
        bits = bits * 2 // 3
    size = max(0, -(-bits // 8))
    return size + size % 2


def _screen(sop_class_uid: str, dataset: Dataset) -> str | None:
    """Tell screens by their class, and the screens and labels among classes that are safe."""
    if sop_class_uid in SCREENS:
        return f"{SCREENS[sop_class_uid]} may show a name"
    if SCREEN_WORDS.search(elements.spoken(dataset, "ImageType")):
        return "the image type names a screen or a report"
    if sop_class_uid == SLIDES and LABEL_WORDS & set(_all(dataset, "ImageType")):
        return "a slide's label may show a name"
    if sop_class_uid in GREY_ONLY and Header(dataset, ()).small("SamplesPerPixel") == COLOURS:
        return "a picture in colour from a device that measures in grey"
    return None


def _all(dataset: Dataset, keyword: str) -> list[str]:
    return [one.strip("\0 ") for one in elements.spoken(dataset, keyword).split("\\")]


def _first(dataset: Dataset, keyword: str) -> str:
    return next(iter(_all(dataset, keyword)), "")
