"""Private elements and their creators (PS3.5 7.8.1): which block is whose, and who may stay."""

from pydicom.dataset import Dataset

from gateway.deid import elements

FIRST_BLOCK, LAST_BLOCK = 0x10, 0xFF
PLAIN = ("iso8859",)  # creators are of the default repertoire


def is_creator(tag: int) -> bool:
    return bool(tag >> 16 & 1) and FIRST_BLOCK <= tag & 0xFFFF <= LAST_BLOCK


def block_of(tag: int) -> int:
    """Return the creator element that reserves a private element's block."""
    return tag & 0xFFFF0000 | tag >> 8 & 0xFF


def creators(dataset: Dataset) -> dict[int, str]:
    """Return who reserved which block of this dataset; items have creators of their own."""
    return {
        tag: elements.as_text(elements.held(dataset, tag), PLAIN).strip("\0 ")
        for tag in elements.tags(dataset)
        if is_creator(tag) and elements.held(dataset, tag).VR != "SQ"
    }


def settle(dataset: Dataset, known: dict[int, str]) -> None:
    """Leave the creators of what was kept, spelt anew, and no other."""
    used = {
        block_of(tag) for tag in elements.tags(dataset) if tag >> 16 & 1 and not is_creator(tag)
    }
    for tag in elements.tags(dataset):
        if is_creator(tag):
            if tag in used and tag in known:
                elements.put(dataset, tag, "LO", known[tag])
            else:
                elements.drop(dataset, tag)
