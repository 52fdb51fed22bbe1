"""Between bytes and pydicom's Dataset, by transfer syntax (PS3.5 annex A)."""

import logging
import warnings
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO

import pydicom.config
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    UncompressedTransferSyntaxes,
)

from gateway.deid.walk import Encoding
from gateway.errors import GatewayError

RAW_DEFLATE = -15  # no zlib header (PS3.5 A.5, RFC 1951)
INFLATED_AT_MOST = 256 << 20
RATIO_AT_MOST = 200  # deflate itself reaches 1032
ANY_RATIO_BELOW = 16 << 20  # a small blank image may well exceed the ratio


class TooMuch(GatewayError):
    """A deflated dataset would inflate to more than anybody needs."""


@dataclass(frozen=True, slots=True)
class Syntax:
    """What a transfer syntax means for whoever reads the bytes."""

    encoding: Encoding
    encapsulated: bool
    deflated: bool


def syntax_of(transfer_syntax_uid: str) -> Syntax | None:
    """Return what the standard says of it; None for one it does not know."""
    if transfer_syntax_uid not in AllTransferSyntaxes:
        return None
    return Syntax(
        Encoding(
            implicit=transfer_syntax_uid == ImplicitVRLittleEndian,
            big_endian=transfer_syntax_uid == ExplicitVRBigEndian,
        ),
        encapsulated=transfer_syntax_uid not in UncompressedTransferSyntaxes,
        deflated=transfer_syntax_uid == DeflatedExplicitVRLittleEndian,
    )


def parse(raw: bytes | bytearray, encoding: Encoding) -> Dataset:
    return read_dataset(BytesIO(raw), encoding.implicit, not encoding.big_endian)


def encode(dataset: Dataset, encoding: Encoding) -> bytes:
    """Write a dataset in the same transfer syntax it was read from."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = encoding.implicit
    buffer.is_little_endian = not encoding.big_endian
    write_dataset(buffer, dataset)
    return bytes(buffer.getvalue())


def inflate(chunks: Iterable[bytes], received: int) -> bytes:
    """Undo deflate of so many bytes; zlib.error where it is not, TooMuch where it is a bomb."""
    at_most = min(INFLATED_AT_MOST, max(ANY_RATIO_BELOW, RATIO_AT_MOST * received))
    inflator = zlib.decompressobj(RAW_DEFLATE)
    whole = bytearray()
    for chunk in chunks:
        if inflator.eof:
            continue  # padding; it is read for the proof that nothing was cut
        whole += inflator.decompress(chunk, at_most + 1 - len(whole))  # never 0: that is no limit
        if len(whole) > at_most:
            raise TooMuch
    if not inflator.eof:
        raise zlib.error("the deflated stream does not end")
    return bytes(whole)


def silence_pydicom() -> None:
    """Keep pydicom from quoting values: its warnings and errors would put patients into logs."""
    logging.getLogger("pydicom").disabled = True
    warnings.filterwarnings("ignore", module="pydicom")
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
