"""How long native pixel data may be, by their header."""

import pytest
from pydicom.dataset import Dataset

from gateway.deid.engine import UNSAID
from gateway.deid.facts import Header
from gateway.deid.pixels import accounted
from gateway.line.encoding import encode, parse, syntax_of

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"


def header(syntax_uid=EXPLICIT, **attributes):
    dataset = Dataset()
    dataset.SamplesPerPixel, dataset.BitsAllocated = 1, 16
    dataset.PhotometricInterpretation = "MONOCHROME2"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    encoding = syntax_of(syntax_uid).encoding
    return Header(parse(encode(dataset, encoding), encoding), UNSAID)


@pytest.mark.parametrize("syntax_uid", [IMPLICIT, EXPLICIT, BIG])
def test_grey_pixels_are_rows_by_columns_by_frames(syntax_uid):
    found = accounted(header(syntax_uid), rows=10, columns=20, frames=3)

    assert found == 10 * 20 * 3 * 2


@pytest.mark.parametrize(
    ("attributes", "shape", "size"),
    [
        ({"BitsAllocated": 8}, (3, 3, 1), 10),  # nine, and a pad
        ({"BitsAllocated": 1}, (5, 5, 2), 8),  # fifty bits: seven bytes, and a pad
        ({"BitsAllocated": 1}, (512, 512, 1), 32768),
        ({"BitsAllocated": 32}, (2, 2, 1), 16),
        ({"SamplesPerPixel": 3, "BitsAllocated": 8}, (4, 4, 1), 48),
    ],
)
def test_bits_are_rounded_up_once_and_padded_to_an_even_length(attributes, shape, size):
    rows, columns, frames = shape

    assert accounted(header(**attributes), rows=rows, columns=columns, frames=frames) == size


def test_subsampled_colour_takes_two_thirds():
    subsampled = header(
        SamplesPerPixel=3, BitsAllocated=8, PhotometricInterpretation="YBR_FULL_422"
    )

    assert accounted(subsampled, rows=4, columns=4, frames=2) == 4 * 4 * 2 * 2


@pytest.mark.parametrize("missing", ["rows", "columns"])
def test_what_is_missing_accounts_for_nothing(missing):
    shape = {"rows": 4, "columns": 4, "frames": 1, missing: None}

    assert accounted(header(), **shape) == 0


def test_bits_that_are_no_number_account_for_nothing():
    assert accounted(header(BitsAllocated=[16, 16]), rows=4, columns=4, frames=1) == 0
    assert accounted(Header(Dataset(), UNSAID), rows=4, columns=4, frames=1) == 0
