import tracemalloc
import zlib

import pytest
from pydicom.uid import AllTransferSyntaxes

from gateway.line import encoding
from gateway.line.encoding import TooMuch, inflate, syntax_of


def deflated(plain):
    squeezer = zlib.compressobj(wbits=-15)
    return squeezer.compress(plain) + squeezer.flush()


@pytest.mark.parametrize("uid", AllTransferSyntaxes)
def test_every_transfer_syntax_is_read_as_the_standard_says(uid):
    syntax = syntax_of(str(uid))

    assert syntax.encoding.implicit == uid.is_implicit_VR
    assert syntax.encoding.big_endian == (not uid.is_little_endian)
    assert syntax.deflated == uid.is_deflated
    assert syntax.encapsulated == uid.is_encapsulated


def test_a_private_transfer_syntax_is_not_known():
    assert syntax_of("1.2.840.113619.5.2") is None


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_deflate_is_undone_in_any_chunks(step):
    plain = b"Doe^Jane" * 1000
    raw = deflated(plain)

    assert inflate((raw[at : at + step] for at in range(0, len(raw), step)), len(raw)) == plain


@pytest.mark.parametrize("step", [1, 50, 1000])
@pytest.mark.parametrize(("limit", "value"), [("INFLATED_AT_MOST", 99_999), ("RATIO_AT_MOST", 100)])
def test_a_deflate_bomb_is_refused(monkeypatch, limit, value, step):
    monkeypatch.setattr(encoding, limit, value)
    monkeypatch.setattr(encoding, "ANY_RATIO_BELOW", 1000)
    raw = deflated(bytes(100_000))

    with pytest.raises(TooMuch):
        inflate((raw[at : at + step] for at in range(0, len(raw), step)), len(raw))


def test_what_inflates_to_exactly_the_limit_is_taken(monkeypatch):
    monkeypatch.setattr(encoding, "INFLATED_AT_MOST", 100_000)
    raw = deflated(bytes(100_000))

    assert len(inflate([raw[:50], raw[50:], b"\0"], len(raw))) == 100_000


def test_a_bomb_takes_no_more_memory_than_the_limit():
    raw = deflated(bytes(100 << 20))  # a thousand times what is sent
    tracemalloc.start()

    with pytest.raises(TooMuch):
        inflate([raw], len(raw))

    assert tracemalloc.get_traced_memory()[1] < 4 * encoding.ANY_RATIO_BELOW
    tracemalloc.stop()


@pytest.mark.parametrize("raw", [b"not deflate at all", deflated(b"x" * 500)[:-3]])
def test_what_is_not_deflate_is_said(raw):
    with pytest.raises(zlib.error):
        inflate([raw], len(raw))
