"""What a header says once its series' face was removed: no more than was done."""

from pydicom.dataset import Dataset

from gateway.deid.pixel_header import say_derived

CLEAN_FACES = ("113102", "Clean Recognizable Visual Features Option")  # PS3.16 CID 7050
REMOVED = "The face was removed"


def say_faceless(dataset: Dataset) -> None:
    """Say that no face can be recognised, and that the option was applied."""
    dataset.RecognizableVisualFeatures = "NO"
    item = Dataset()
    item.CodeValue, item.CodeMeaning = CLEAN_FACES
    item.CodingSchemeDesignator = "DCM"
    codes = list(dataset.get("DeidentificationMethodCodeSequence") or ())
    # In the order of the table: after the profile itself, and after 113101 where that was applied.
    at = sum(code.CodeValue < CLEAN_FACES[0] for code in codes)
    dataset.DeidentificationMethodCodeSequence = [*codes[:at], item, *codes[at:]]


def say_removed(dataset: Dataset) -> None:
    """Say that the pixels are not the device's own any more."""
    say_derived(dataset, REMOVED, "the face removed from the pixels")
