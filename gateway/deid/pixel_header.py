"""What a header says after a look at the pixels: no more than was done."""

from typing import Any

from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from gateway.deid import elements

CLEAN_PIXEL_DATA = ("113101", "Clean Pixel Data Option")  # PS3.16 CID 7050
DERIVED = "Text in the pixels was blanked"
BYTE = 8
# Of compressed pixel data alone (PS3.5 A.4, PS3.3 C.7.6.3.1.8).
OFFSET_TABLES = (0x7FE00001, 0x7FE00002)
# What is lossy for sure, by the last parts of the transfer syntax (PS3.3 C.7.6.1.1.5.2). JPEG 2000
# may be either: it is where its colours were transformed irreversibly, else the device knows.
METHODS = {
    "4.50": "ISO_10918_1",
    "4.51": "ISO_10918_1",
    "4.53": "ISO_10918_1",
    "4.55": "ISO_10918_1",
    "4.81": "ISO_14495_1",
}
IRREVERSIBLE = "YBR_ICT"
SYNTAXES = "1.2.840.10008.1.2."

# All that says how pixels are stored and shown; nothing else goes to whoever looks at them.
STORED_BY = (
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames",
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "RedPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths", "PixelData",
)  # fmt: skip


def pixels_alone(dataset: Dataset) -> Dataset:
    """Return what is needed to see the pixels, and nothing else."""
    alone = Dataset()
    for keyword in STORED_BY:
        if keyword in dataset:
            alone[keyword] = dataset[keyword]
    return alone


def say_looked(dataset: Dataset) -> None:
    """Say that no text is burned in (any more), and that the option was applied."""
    dataset.BurnedInAnnotation = "NO"
    item = Dataset()
    item.CodeValue, item.CodeMeaning = CLEAN_PIXEL_DATA
    item.CodingSchemeDesignator = "DCM"
    codes = list(dataset.get("DeidentificationMethodCodeSequence") or ())
    dataset.DeidentificationMethodCodeSequence = [*codes[:1], item, *codes[1:]]


def say_blanked(dataset: Dataset, boxes: int) -> None:
    """Say that boxes of the pixels are not the device's own any more."""
    say_derived(dataset, DERIVED, f"{boxes} boxes blanked in the pixels")


def say_derived(dataset: Dataset, what: str, method: str) -> None:
    """Say that the pixels are not the device's own any more (PS3.3 C.7.6.1.1.2 and .3)."""
    if kinds := _all(dataset, "ImageType"):
        dataset.ImageType = ["DERIVED", *kinds[1:]]
    before = str(dataset.get("DerivationDescription") or "").strip()
    dataset.DerivationDescription = f"{before}; {what}" if before else what
    dataset.DeidentificationMethod = [*_all(dataset, "DeidentificationMethod"), method]


def put_native(dataset: Dataset, pixels: bytes, photometric: str, transfer_syntax_uid: str) -> None:
    """Put decoded pixels in the place of compressed ones, and remember what was lossy."""
    before, colours = dataset["PixelData"].value, dataset.get("PhotometricInterpretation")
    wide = int(dataset.BitsAllocated) > BYTE
    put_same(dataset, pixels, "OW" if wide else "OB")
    for tag in OFFSET_TABLES:
        elements.drop(dataset, tag)
    dataset.PhotometricInterpretation = photometric
    if int(dataset.get("SamplesPerPixel") or 1) > 1:
        dataset.PlanarConfiguration = 0
    method = METHODS.get(transfer_syntax_uid.removeprefix(SYNTAXES))
    if str(colours or "").strip() == IRREVERSIBLE:
        method = "ISO_15444_1"
    if method and str(dataset.get("LossyImageCompression") or "") != "01":
        # The device did not say so; it is so for ever (PS3.3 C.7.6.1.1.5).
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionMethod = method
        dataset.LossyImageCompressionRatio = f"{len(pixels) / max(1, len(before)):.2f}"


def put_same(dataset: Dataset, pixels: bytes, vr: str) -> None:
    """Put blanked pixels in the place of the same pixels."""
    tag = 0x7FE00010
    dataset[tag] = DataElement(tag, vr, pixels, validation_mode=config.IGNORE)


def _all(dataset: Dataset, keyword: str) -> list[str]:
    value: Any = dataset.get(keyword)
    if not value:
        return []
    return [value] if isinstance(value, str) else [str(one) for one in value]
