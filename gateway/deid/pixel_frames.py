"""The stored values of an image's frames: decoded without a change, blanked in boxes, given back.

What came native keeps its bytes outside the boxes; what came compressed is given back native.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import expand_ybr422
from pydicom.uid import UID, ExplicitVRBigEndian, UncompressedTransferSyntaxes

Values = NDArray[Any]
GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
YBR = frozenset({"YBR_FULL", "YBR_FULL_422"})
PALETTE = "PALETTE COLOR"
COLOURED = YBR | {"RGB", "YBR_RCT", "YBR_ICT"}
COLOURS = 3
BYTE, WORD, LONG = 8, 16, 32


class Undecodable(Exception):
    """Its pixels cannot be looked at; says why in words that name nobody."""


@dataclass(frozen=True, slots=True)
class Box:
    """Columns left..right and rows top..bottom, the ends not included."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def area(self) -> int:
        return max(0, self.right - self.left) * max(0, self.bottom - self.top)

    def shared(self, other: "Box") -> int:
        """Return how many pixels both have."""
        return Box(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        ).area

    def widened(self, by: int, rows: int, columns: int) -> "Box":
        """Add a margin, within the image."""
        return Box(
            max(0, self.left - by),
            max(0, self.top - by),
            min(columns, self.right + by),
            min(rows, self.bottom + by),
        )


@dataclass(frozen=True, slots=True)
class Form:
    """What the header says of the values (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    planar: int
    allocated: int
    stored: int
    signed: bool

    @classmethod
    def of(cls, dataset: Dataset) -> "Form":
        try:
            form = cls(
                rows=int(dataset.Rows),
                columns=int(dataset.Columns),
                frames=int(dataset.get("NumberOfFrames") or 1),
                samples=int(dataset.get("SamplesPerPixel") or 1),
                photometric=str(dataset.PhotometricInterpretation).strip("\0 "),
                planar=int(dataset.get("PlanarConfiguration") or 0),
                allocated=int(dataset.BitsAllocated),
                stored=int(dataset.get("BitsStored") or dataset.BitsAllocated),
                signed=bool(int(dataset.get("PixelRepresentation") or 0)),
            )
        except (AttributeError, TypeError, ValueError):
            raise Undecodable("its header does not say how its pixels are stored") from None
        if min(form.rows, form.columns, form.frames) < 1 or form.stored > form.allocated:
            raise Undecodable("its header contradicts itself about its pixels")
        if form.allocated not in (BYTE, WORD, LONG):
            raise Undecodable(f"its pixels have {form.allocated} bits each, which is not read")
        grey = form.photometric in GREY or form.photometric == PALETTE
        if not grey and form.photometric not in COLOURED:
            raise Undecodable("its photometric interpretation is not read")
        if form.samples != (1 if grey else COLOURS):
            raise Undecodable("its samples do not fit its photometric interpretation")
        return form

    @property
    def bytes_at_least(self) -> int:
        """Return what all frames take once they are decoded."""
        size = self.rows * self.columns * self.frames * self.samples
        return size * self.allocated // BYTE


class Frames:
    """All frames of one image, to be looked at and blanked."""

    def __init__(self, dataset: Dataset, transfer_syntax_uid: str, form: Form) -> None:
        self.form = form
        self.native = transfer_syntax_uid in UncompressedTransferSyntaxes
        self.photometric = form.photometric
        order = ">" if transfer_syntax_uid == ExplicitVRBigEndian else "<"
        self._dtype = np.dtype(f"{order}{'i' if form.signed else 'u'}{form.allocated // BYTE}")
        # Bytes in words of the other order (PS3.5 8.2, OW): each pair the other way round.
        self._swapped = order == ">" and form.allocated == BYTE and dataset["PixelData"].VR == "OW"
        self._packed = self.native and form.photometric == "YBR_FULL_422"
        self._lut = palette(dataset, order) if form.photometric == PALETTE else None
        if self.native:
            self._buffer = bytearray(dataset.PixelData)
            if self._swapped:
                _swap(self._buffer)
            self._values = self._seen(form)
        else:
            self._values = self._decoded(dataset, transfer_syntax_uid, form)
        if self._uses_spare_bits():
            raise Undecodable("its pixels use bits that its header does not account for")
        self._fill = self._darkest()

    def __iter__(self) -> Iterator[Values]:
        return (self.frame(number) for number in range(self.form.frames))

    def frame(self, number: int) -> Values:
        """Return the values of one frame: rows by columns, by samples where it has colours."""
        values: Values = self._values[number]
        if not self._packed:
            return values
        whole = expand_ybr422(values.tobytes(), self.form.allocated)
        return np.frombuffer(whole, self._dtype).reshape(self.form.rows, self.form.columns, COLOURS)

    def put(self, number: int, values: Values) -> None:
        """Replace the values of one frame (never of one whose colours are packed)."""
        self._values[number] = values

    def blank(self, box: Box) -> None:
        """Fill a box of every frame with the darkest value."""
        rows, columns = slice(box.top, box.bottom), slice(box.left, box.right)
        if self._packed:  # two pixels share their colour: whole pairs
            pairs = slice(box.left // 2, -(-box.right // 2))
            luma, chroma = self._fill[0], self._fill[1]
            self._values[:, rows, pairs] = (luma, luma, chroma, chroma)
        else:
            self._values[:, rows, columns] = self._fill

    def bytes(self) -> bytes:
        """Return Pixel Data: as long as it came where it was native, little endian where not."""
        if self.native:
            given = bytearray(self._buffer)
            if self._swapped:
                _swap(given)
            return bytes(given)
        raw: bytes = self._values.tobytes()
        return raw + b"\0" * (len(raw) % 2)

    def _seen(self, form: Form) -> Values:
        """See the native bytes as values; what is written there is written to the bytes."""
        shape: tuple[int, ...] = (form.frames, form.rows, form.columns)
        if self._packed:
            if form.columns % 2 or form.allocated != BYTE:
                raise Undecodable("its colours are packed in a way that is not read")
            shape = (form.frames, form.rows, form.columns // 2, 4)
        elif form.samples == COLOURS:
            shape = (
                (form.frames, COLOURS, form.rows, form.columns)
                if form.planar
                else (*shape, COLOURS)
            )
        count = int(np.prod(shape, dtype=np.int64))
        if len(self._buffer) < count * self._dtype.itemsize:
            raise Undecodable("its pixel data are shorter than its header says")
        values = np.frombuffer(self._buffer, self._dtype, count).reshape(shape)
        return values.transpose(0, 2, 3, 1) if form.planar and form.samples == COLOURS else values

    def _decoded(self, dataset: Dataset, transfer_syntax_uid: str, form: Form) -> Values:
        shape: tuple[int, ...] = (form.frames, form.rows, form.columns)
        if form.samples == COLOURS:
            shape = (*shape, COLOURS)
        try:
            decoder = get_decoder(UID(transfer_syntax_uid))
            decoded, said = decoder.as_array(dataset, raw=True)
            told = str(said["photometric_interpretation"])
            self.photometric = "YBR_FULL" if told in YBR else told  # its colours were unpacked
            values = decoded.reshape(shape).astype(self._dtype, copy=not decoded.flags.writeable)
        except Exception as fault:  # noqa: BLE001 - decoders raise anything, and quote values
            raise Undecodable(f"its pixels cannot be decoded ({type(fault).__name__})") from None
        return values

    def _uses_spare_bits(self) -> bool:
        """Say whether anything lies beyond the bits of a value: overlays used to (PS3.5 8.1.1)."""
        spare = self.form.allocated - self.form.stored
        if not spare:
            return False
        if self.form.signed:  # copies of the sign may
            half = 1 << (self.form.stored - 1)
            return bool(self._values.min() < -half or self._values.max() >= half)
        return bool(self._values.max() >> self.form.stored)

    def _darkest(self) -> Values:
        """Choose what boxes are filled with: a value the image holds already, where it is grey."""
        if self._lut is not None:
            index = self._lut.first + int(np.argmin(self._lut.colours.sum(axis=1, dtype=np.int64)))
            return np.array(index, self._dtype)
        if self.photometric in GREY:
            inverse = self.photometric == "MONOCHROME1"
            fill: Values = self._values.max() if inverse else self._values.min()
            return fill
        middle = 1 << (self.form.stored - 1)
        return np.array([0, middle, middle] if self.photometric in YBR else [0, 0, 0], self._dtype)

    @property
    def lut(self) -> "Lut | None":
        return self._lut


@dataclass(frozen=True, slots=True)
class Lut:
    """A palette: the colours of the values from `first` on, 8 bits each."""

    first: int
    colours: NDArray[np.uint8]


def _swap(words: bytearray) -> None:
    if len(words) % 2:
        raise Undecodable("its pixel data are not made of whole words")
    words[0::2], words[1::2] = words[1::2], words[0::2]


def palette(dataset: Dataset, order: str) -> Lut:
    """Read a palette (PS3.3 C.7.6.3.1.5 and .6), segmented ones too."""
    from pydicom.pixels.processing import _expand_segmented_lut

    try:
        told = dataset["RedPaletteColorLookupTableDescriptor"].value
        first, bits = int(told[1]), int(told[2])
        channels = []
        for colour in ("Red", "Green", "Blue"):
            raw = dataset.get(f"{colour}PaletteColorLookupTableData")
            if raw is None:
                raw = dataset.get(f"Segmented{colour}PaletteColorLookupTableData")
                words = np.frombuffer(raw, f"{order}u2" if bits > BYTE else "u1")
                form = f"{order}H" if bits > BYTE else f"{order}B"
                channels.append(np.array(_expand_segmented_lut(tuple(int(w) for w in words), form)))
            else:
                count = int(told[0]) or 1 << WORD
                wide = len(raw) >= 2 * count
                channels.append(np.frombuffer(raw, f"{order}u2" if wide else "u1")[:count])
        shortest = min(map(len, channels))
        table = np.stack([channel[:shortest].astype(np.int64) for channel in channels], axis=1)
    except Exception as fault:  # noqa: BLE001 - a damaged palette, in one way or another
        raise Undecodable(f"its palette cannot be read ({type(fault).__name__})") from None
    if not len(table):
        raise Undecodable("its palette is empty")
    wide = table.max() > 0xFF  # noqa: PLR2004 - some devices put 8 bits where 16 are declared
    return Lut(first, (table >> BYTE if wide else table).clip(0, 0xFF).astype(np.uint8))
