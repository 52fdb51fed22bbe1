"""One CT header of 274 elements, in memory: what each engine needs for it."""

import time
from collections.abc import Callable, Iterator

from pydicom import Dataset, Sequence

from gateway.deid import names
from gateway.deid.engine import Deidentified, Deidentifier
from gateway.deid.profile import load_profile
from gateway.deid.stream import Streamed, StreamEngine
from gateway.deid.walk import Encoding
from gateway.line.encoding import encode, parse, silence_pydicom
from tests.bench.ingest.sets import TEMPLATES

ELEMENTS = 274
PRIVATE_AT_A_TIME = 20
EXPLICIT = "1.2.840.10008.1.2.1"
ENCODING = Encoding(implicit=False, big_endian=False)
KEYS = b"p" * 32, b"s" * 32


def count(dataset: Dataset) -> int:
    """Count elements, nested ones too."""
    return sum(
        1 + (sum(map(count, element.value)) if element.VR == "SQ" else 0) for element in dataset
    )


def ct_header() -> Dataset:
    """Return a CT header of exactly ELEMENTS elements, private and nested ones among them."""
    dataset = TEMPLATES["ct"](0)
    del dataset.PixelData
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "T-D3000", "SRT", "Chest"
    dataset.AnatomicRegionSequence = Sequence([code])
    block = dataset.private_block(0x0043, "RADFED BENCH NUMBERS", create=True)
    offset = 0
    while (missing := ELEMENTS - count(dataset)) > 0:
        if missing > PRIVATE_AT_A_TIME and offset % 40 == 0:
            inner = Dataset()
            group = inner.private_block(0x0045, "RADFED BENCH NESTED", create=True)
            for number in range(8):
                group.add_new(number, "LO", f"nested {number}")
            block.add_new(offset, "SQ", Sequence([inner]))
        else:
            block.add_new(offset, "DS", str(offset * 1.5))
        offset += 1
    assert count(dataset) == ELEMENTS
    return dataset


def series(length: int) -> list[bytes]:
    """Return the headers of one series: what differs between its images differs."""
    dataset = ct_header()
    headers = []
    for number in range(length):
        dataset.SOPInstanceUID = f"2.25.1000{number}"
        dataset.InstanceNumber = number + 1
        dataset.ImagePositionPatient = ["-180.5", "-180.5", f"{number * 1.25}"]
        dataset.SliceLocation = f"{number * 1.25}"
        dataset.ContentTime = dataset.AcquisitionTime = f"10{number // 60 % 60:02}{number % 60:02}"
        headers.append(encode(dataset, ENCODING))
    return headers


def figures(length: int) -> Iterator[tuple[str, float]]:
    """Yield subject and CPU milliseconds of one header."""
    silence_pydicom()
    profile = load_profile("research-strict")
    headers = series(length)
    for subject, checked in (("stream", True), ("stream, no scrub or scan", False)):
        engine = StreamEngine(profile, *KEYS, checked=checked)
        yield subject, _ms(headers, _streamed(engine))
    few = headers[: max(10, length // 20)]
    yield "stream, a patient each", _ms(few, _first_of_a_patient(StreamEngine(profile, *KEYS)))
    yield "reference", _ms(few, _by_reference(Deidentifier(profile, *KEYS)))


def _ms(headers: list[bytes], treat: Callable[[bytes], None]) -> float:
    treat(headers[0])
    began = time.process_time()
    for header in headers:
        treat(header)
    return (time.process_time() - began) / len(headers) * 1e3


def _streamed(engine: StreamEngine) -> Callable[[bytes], None]:
    def treat(header: bytes) -> None:
        assert isinstance(engine.apply(header, EXPLICIT), Streamed)

    return treat


def _first_of_a_patient(engine: StreamEngine) -> Callable[[bytes], None]:
    """Forget the patient every time: names are compiled, texts cleaned and scanned anew."""

    def treat(header: bytes) -> None:
        engine.forget()
        names.known.cache_clear()
        assert isinstance(engine.apply(header, EXPLICIT), Streamed)

    return treat


def _by_reference(engine: Deidentifier) -> Callable[[bytes], None]:
    def treat(header: bytes) -> None:
        result = engine.apply(parse(header, ENCODING), EXPLICIT)
        assert isinstance(result, Deidentified)
        encode(result.dataset, ENCODING)

    return treat
