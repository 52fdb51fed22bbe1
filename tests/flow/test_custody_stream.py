"""Which engine rewrote a header is counted, and makes no difference to what is stored."""

import pytest

from gateway.line.custody import VerdictKind
from tests.fakes.custody_house import House, dataset_of, shipped, written


def an_odd_ct():
    """A CT whose instance number is spelt as the stream engine does not read it."""
    ct = shipped("CT_small.dcm")
    dataset = dataset_of(ct)
    dataset.InstanceNumber = "+7"
    return written(dataset, ct)


def test_an_ordinary_ct_is_rewritten_by_the_stream_engine(tmp_path):
    house = House(tmp_path)

    verdict = house.take(shipped("CT_small.dcm"))

    assert verdict.kind is VerdictKind.STORED
    assert house.counted == ["express_stream"]


def test_what_the_stream_engine_doubts_is_rewritten_by_the_reference_engine(tmp_path):
    house = House(tmp_path)

    verdict = house.take(an_odd_ct())

    assert verdict.kind is VerdictKind.STORED
    assert house.counted == ["express_reference"]


@pytest.mark.parametrize("chunk", [1 << 20, 1000, 7])
def test_a_header_in_pieces_is_stored_as_one_that_comes_at_once(tmp_path, chunk):
    whole, pieces = House(tmp_path / "whole"), House(tmp_path / "pieces")

    whole.take(shipped("CT_small.dcm"))
    pieces.take(shipped("CT_small.dcm"), chunk)

    (one,), (other,) = whole.files(), pieces.files()
    assert one.read_bytes()[4096:] == other.read_bytes()[4096:]
