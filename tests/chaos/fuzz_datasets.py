"""`python -m tests.chaos.fuzz_datasets [libFuzzer options]`: atheris against walk and engine."""

from functools import cache

from pydicom import dcmread
from pydicom.data import get_testdata_file

from gateway.deid.profile import load_profile
from gateway.deid.stream import NotUnderstood, Streamed, StreamEngine
from gateway.deid.stream_scout import scout
from gateway.deid.walk import Carried, Encoding, Found, Look, Walk, check
from gateway.line.encoding import encode, silence_pydicom, syntax_of
from tests.chaos.fuzzing import fuzz

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
SEED_FILES = ("CT_small.dcm", "MR_small.dcm", "test-SR.dcm", "nested_priv_SQ.dcm", "rtplan.dcm")
LONGEST_SEED = 16_000
WORDS = (
    b"\xfe\xff\0\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0",
    b"\xe0\x7f\x10\0", b"\xe0\x7f\x10\0OW\0\0", b"SQ\0\0\xff\xff\xff\xff", b"UN\0\0", b"OB\0\0",
    b"\x08\0\x05\0", b"ISO_IR 192", b"\\ISO 2022 IR 87", b"\xff\xff\xff\xff",
)  # fmt: skip


@cache
def engine() -> StreamEngine:
    silence_pydicom()
    return StreamEngine(load_profile("research-strict"), b"p" * 32, b"s" * 32)


def seeds() -> list[bytes]:
    found = []
    for name in SEED_FILES:
        dataset = dcmread(get_testdata_file(name), force=True)
        for mode, uid in enumerate((EXPLICIT, IMPLICIT)):
            raw = encode(dataset, syntax_of(uid).encoding)[:LONGEST_SEED]
            found.append(bytes((mode, 128)) + raw)
    return found


def try_one(stream: bytes) -> None:
    """Two readers agree about every dataset, and no engine fails in an unforeseen way."""
    implicit = bool(stream[:1] and stream[0] & 1)
    dataset = stream[2:]
    view = memoryview(dataset)
    encoding = Encoding(implicit=implicit, big_endian=False)
    cut = len(view) * (stream[1] if len(stream) > 1 else 0) >> 8
    whole, pieces = look(encoding, view), look(encoding, view[:cut], view[cut:])
    assert whole == pieces, "a walk in pieces finds something else"
    scouted = scout(view, implicit=implicit)
    if scouted is not None and isinstance(whole, Found):
        assert scouted == whole, "scout and walk find different pixels"
    check(view, encoding)
    end = whole.element if isinstance(whole, Found) else len(dataset)
    result = engine().apply(dataset[:end], IMPLICIT if implicit else EXPLICIT)
    assert isinstance(result, Streamed | NotUnderstood)
    if isinstance(result, Streamed):
        again = look(encoding, memoryview(result.header))
        assert not hasattr(again, "why"), f"what it wrote cannot be read: {again}"


def look(encoding: Encoding, *pieces: memoryview) -> Look | None:
    walk = Walk(encoding)
    carried = Carried(walk)
    found: Look | None = None
    for piece in pieces:
        found = carried.feed(piece)
        if isinstance(found, Found) or hasattr(found, "why"):
            return found
    return found


if __name__ == "__main__":
    fuzz("tests.chaos.fuzz_datasets")
