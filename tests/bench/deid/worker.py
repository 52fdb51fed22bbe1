"""De-identify files one by one with one of our engines, and say what that cost.

    python -m tests.bench.deid.worker ENGINE TARGET FILE...     prints {"cpu_ms", "seconds", ...}

From a Part 10 file to a Part 10 file, as the express lane does it: what is counted begins when the
engine is loaded, for a gateway loads it once.
"""

import json
import mmap
import os
import sys
import time
from collections import Counter
from pathlib import Path

from gateway.deid.engine import Deidentified, Deidentifier
from gateway.deid.profile import load_profile
from gateway.deid.stream import NotUnderstood, Streamed, StreamEngine
from gateway.deid.stream_scout import scout
from gateway.deid.walk import Found, Fragments, Walk
from gateway.line.encoding import Syntax, encode, parse, silence_pydicom, syntax_of
from gateway.store.part10 import head

GROUP_END = 144
SMALL = 1 << 20
PIXELS = b"\xe0\x7f\x10\0"
KEYS = b"p" * 32, b"s" * 32
TRANSFER_SYNTAX = b"\x02\0\x10\0UI"


class Files:
    """Takes files from disk to disk through an engine."""

    def __init__(self, engine: str) -> None:
        profile = load_profile("research-strict")
        self._reference = Deidentifier(profile, *KEYS)
        self._stream = StreamEngine(profile, *KEYS, checked=engine != "unchecked")
        self._streams = engine != "reference"

    def treat(self, source: Path, target: Path) -> str:
        """Write the de-identified file; tell which engine did it, or that none did."""
        with source.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as whole:
            view = memoryview(whole)
            try:
                return self._treat(view, file.fileno(), target)
            finally:
                view.release()

    def _treat(self, view: memoryview, descriptor: int, target: Path) -> str:
        start = GROUP_END + int.from_bytes(view[140:GROUP_END], "little")
        meta = bytes(view[:start])
        at = meta.find(TRANSFER_SYNTAX)
        size = int.from_bytes(meta[at + 6 : at + 8], "little")
        uid = meta[at + 8 : at + 8 + size].rstrip(b"\0 ").decode("ascii")
        syntax = syntax_of(uid)
        if meta[128:132] != b"DICM" or syntax is None or syntax.deflated:
            return "neither"
        with view[start:] as dataset:
            found = _found(dataset, syntax)
            end = len(dataset) if found is None else found.element
            raw = bytes(dataset[:end])
            until = end if found is None else min(len(dataset), _end(dataset, found))
        for result in self._results(raw, uid, syntax):
            if isinstance(result, Streamed):
                header, facts = result.header, result.facts
            else:
                header, facts = encode(result.dataset, syntax.encoding), result.facts
            self._write(
                target, head(facts.sop_class_uid, facts.sop_uid, uid) + header,
                descriptor, start + end, until - end,
            )  # fmt: skip
            return "stream" if isinstance(result, Streamed) else "reference"
        return "neither"

    def _results(self, raw: bytes, uid: str, syntax: Syntax) -> "list[Streamed | Deidentified]":
        if self._streams and not syntax.encoding.big_endian:
            streamed = self._stream.apply(raw, uid)
            if not isinstance(streamed, NotUnderstood):
                return [streamed]
        result = self._reference.apply(parse(raw, syntax.encoding), uid)
        return [result] if isinstance(result, Deidentified) else []

    @staticmethod
    def _write(target: Path, start: bytes, descriptor: int, offset: int, size: int) -> None:
        out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(out, start)
            while size > 0:
                sent = os.sendfile(out, descriptor, offset, size)
                if not sent:
                    raise EOFError
                offset, size = offset + sent, size - sent
        finally:
            os.close(out)


def _found(dataset: memoryview, syntax: Syntax) -> Found | None:
    encoding = syntax.encoding
    if not encoding.big_endian:
        found = scout(dataset, implicit=encoding.implicit)
        if found is not None:
            return found
        if len(dataset) < SMALL and PIXELS not in bytes(dataset):
            return None  # the stream engine reads all of it, and doubts by itself
    looked = Walk(encoding).look(dataset)
    return looked if isinstance(looked, Found) else None


def _end(dataset: memoryview, found: Found) -> int:
    """Return where the value of Pixel Data ends."""
    if found.length is not None:
        return found.value + found.length
    fragments = Fragments()
    with dataset[found.value :] as value:
        fragments.look(value)
    return len(dataset) if fragments.end is None else found.value + fragments.end


def main(engine: str, target: Path, sources: list[Path]) -> None:
    silence_pydicom()
    files = Files(engine)
    files.treat(sources[0], target / "warm.dcm")  # tables and imports
    done: Counter[str] = Counter()
    wall, began = time.monotonic(), time.process_time()
    for number, source in enumerate(sources):
        try:
            done[files.treat(source, target / f"{number}.dcm")] += 1
        except Exception:  # noqa: BLE001 - the corpus holds files that are wrong on purpose
            done["failed"] += 1
    cpu_ms = (time.process_time() - began) * 1e3
    json.dump({"cpu_ms": cpu_ms, "seconds": time.monotonic() - wall, **done}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
