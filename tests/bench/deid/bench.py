"""De-identification side by side: headers in memory, then files from disk to disk."""

import shutil
import time
from pathlib import Path

import pydicom

from tests.bench.deid import headers
from tests.bench.deid.subjects import ALL
from tests.bench.ingest.sets import make
from tests.bench.processes import NotMeasured
from tests.bench.registry import Terms
from tests.bench.rows import Figures, Goal, Row

SIZES = {"ct": 300, "sr": 200, "dx": 10}
QUICK_SIZES = {"ct": 60, "sr": 100, "dx": 5}
HEADERS, QUICK_HEADERS = 400, 200
HEADER_CASE, MIXED_CASE = f"ct header, {headers.ELEMENTS} elements", "mixed real files"
QUICK_SECONDS = 33.0
CPU = "CPU per file"
GOALS = [
    *(Goal(name, "stream", CPU, at_most=0.6, peer="dcmodify") for name in SIZES),
    *(Goal(name, "stream", CPU, at_most=0.35, peer="orthanc") for name in SIZES),
    Goal(HEADER_CASE, "stream, no scrub or scan", "CPU per header", at_most=0.25),
    Goal(MIXED_CASE, "stream", "files", at_least=150),
]


def run(terms: Terms) -> list[Row]:
    """Return figures of every subject that is here; the others are named."""
    figures, began = Figures("deid"), time.monotonic()
    cases = {
        name: make(name, count, terms.directory / name)
        for name, count in (QUICK_SIZES if terms.quick else SIZES).items()
        if terms.runs(name)
    }
    mixed = real_files()
    for number in range(terms.rounds):
        if terms.runs(HEADER_CASE):
            for subject, ms in headers.figures(QUICK_HEADERS if terms.quick else HEADERS):
                figures.add(HEADER_CASE, subject, "CPU per header", "ms", ms)
        for serial, (name, files) in enumerate(cases.items()):
            files.renew(number * 10 + serial)
            _measure(terms, figures, name, files.files, began)
        if terms.runs(MIXED_CASE):
            _measure(terms, figures, MIXED_CASE, mixed, began)
    return figures.rows(["stream"], GOALS)


def _measure(terms: Terms, figures: Figures, case: str, files: list[Path], began: float) -> None:
    for subject in ALL:
        if not terms.wants(subject.name) or (case == MIXED_CASE and subject.name == "orthanc"):
            continue
        if terms.quick and time.monotonic() - began > QUICK_SECONDS and subject.name != "stream":
            terms.say(f"{case}: no time left for {subject.name}")
            continue
        directory = terms.directory / "run"
        directory.mkdir()
        try:
            cost = subject.measure(files, directory)
        except NotMeasured as why:
            terms.say(f"{subject.name} is not measured: {why}")
            continue
        finally:
            shutil.rmtree(directory)
        figures.add(case, subject.name, CPU, "ms", cost.cpu_ms)
        if cost.files_per_second is not None:
            figures.add(case, subject.name, "files", "1/s", cost.files_per_second)
        if cost.share is not None and subject.name == "stream":
            figures.add(case, subject.name, "by the stream engine", "%", cost.share * 100)


def real_files() -> list[Path]:
    """Return the readable Part 10 files in pydicom's wheel: many devices, few of a kind."""
    root = Path(pydicom.__file__).parent / "data" / "test_files"
    found = []
    for path in sorted(root.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                start = file.read(136)
            if start[128:] == b"DICM\x02\0\0\0":
                found.append(path)
    return found
