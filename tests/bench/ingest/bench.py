"""C-STORE side by side: pushes in turn against every subject, rounds interleaved."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.ingest import memory
from tests.bench.ingest.associating import CONTEXTS, associate
from tests.bench.ingest.plain_copy import send
from tests.bench.ingest.pushing import PushFailed, push
from tests.bench.ingest.sets import ImageSet, make
from tests.bench.ingest.subjects import ALL, Radfed, Subject
from tests.bench.processes import (
    NotMeasured,
    Tree,
    free_port,
    last_words,
    python,
    running,
    wait_for,
)
from tests.bench.registry import Terms
from tests.bench.rows import Figures, Goal, Row

SIZES = {"ct": 400, "mr": 400, "dx": 10, "sr": 200, "mf": 20}
QUICK_SIZES = {"ct": 100}
SETTLE_SECONDS = 120.0
WARM_FILES = 4
QUICK_SECONDS = 32.0  # of 45: what is left goes to the last cases and to stopping
RECEIVE_ONLY, PLAIN_COPY = "receive only", "plain TCP copy"
DOOR_CASE = "ct, the door alone"
CONTEXTS_CASE = f"association of {CONTEXTS} contexts"


@dataclass(frozen=True, slots=True)
class Case:
    set_name: str
    associations: int
    nagle: bool
    share: float = 1.0  # how much of the set; a stalling pair needs no more to show its rate

    @property
    def name(self) -> str:
        return f"{self.set_name} x{self.associations}" + (", Nagle on" if self.nagle else "")


FULL = [Case(name, n, nagle=False) for name in SIZES for n in (1, 2, 4)] + [
    Case(name, n, nagle=True, share=0.25) for name in ("ct", "mr", "sr") for n in (1, 4)
]
QUICK = [
    Case("ct", 1, nagle=False),
    Case("ct", 4, nagle=False),
    Case("ct", 1, nagle=True, share=0.24),
]

CPU, RATE = "CPU per image", "images"
GOALS = [
    *(Goal(f"ct x{n}", "radfed", CPU, at_most=0.30, peer="orthanc") for n in (1, 4)),
    *(Goal(f"ct x{n}", "radfed", CPU, at_most=1.5, peer="storescp") for n in (1, 4)),
    Goal("ct x4", "radfed", RATE, at_least=2, peer="orthanc"),
    *(Goal(f"ct x{n}", "radfed", RATE, at_least=0.8, peer="storescp") for n in (1, 4)),
    Goal("ct x1, Nagle on", "radfed", RATE, at_least=20, peer="storescp"),
    Goal(DOOR_CASE, RECEIVE_ONLY, CPU, at_most=1.5, peer=PLAIN_COPY),
    Goal(CONTEXTS_CASE, "radfed", "CPU per association", at_most=2),
    *memory.GOALS,
]


def run(terms: Terms) -> list[Row]:
    """Return figures of every subject that can be measured here; the others are named."""
    return Ingest(terms).run()


Stand = dict[bool, Subject]  # by whether Nagle's algorithm stays on; most look the same twice


class Ingest:
    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._figures = Figures("ingest")
        self._cases = [case for case in (QUICK if terms.quick else FULL) if terms.runs(case.name)]
        self._sets: dict[str, ImageSet] = {}
        self._serial = 0
        self._began = time.monotonic()

    def run(self) -> list[Row]:
        """Measure everything; interrupted, return what there is."""
        try:
            self._measure()
        except KeyboardInterrupt:
            self._terms.say("[yellow]interrupted: these are the figures so far")
        self._terms.say(f"ingest: {time.monotonic() - self._began:.0f} s")
        return self._figures.rows({"radfed", RECEIVE_ONLY}, GOALS)

    def _measure(self) -> None:
        for name, count in (QUICK_SIZES if self._terms.quick else SIZES).items():
            if name == "ct" or any(case.set_name == name for case in self._cases):
                self._sets[name] = make(name, count, self._terms.directory / name)
        for number in range(self._terms.rounds):
            if self._cases or self._terms.runs(CONTEXTS_CASE):
                with self._started(number) as stands:
                    self._round(number, stands)
            self._door_alone()
        if not self._terms.quick:
            memory.measure(self._terms, self._figures)

    @contextmanager
    def _started(self, number: int) -> Iterator[list[Stand]]:
        """Start all subjects at once, each in a fresh directory, and stop them in the end."""
        started: list[Stand] = []
        try:
            for kind in ALL:
                if self._terms.wants(kind.name):
                    self._start(kind, self._terms.directory / f"round{number}", started)
            yield [stand for stand in started if self._comes_up(stand)]
        finally:
            subjects = {subject for stand in started for subject in stand.values()}
            for subject in subjects:
                subject.tree.terminate()
            for subject in subjects:
                subject.stop()

    def _start(self, kind: type[Subject], directory: Path, started: list[Stand]) -> None:
        stand: Stand = {}
        started.append(stand)
        try:
            for nagle in (False, True):
                if not nagle or kind.heeds_nodelay:
                    subject = kind()
                    subject.start(directory / f"{subject.name}{nagle:d}", nagle=nagle)
                stand[nagle] = subject
        except NotMeasured as why:
            self._terms.say(f"not measured: {kind.name}: {why}")

    def _comes_up(self, stand: Stand) -> bool:
        for subject in {*stand.values()}:
            try:
                subject.wait()
                warm = self._renewed("ct")[:WARM_FILES]
                self._push(subject, warm, associations=1, nagle=False)
            except (NotMeasured, PushFailed, TimeoutError) as why:
                self._terms.say(f"not measured: {subject.name}: {why}")
                self._terms.say(f"its last words: {last_words(subject.tree.log)}")
                return False
        return bool(stand)

    def _round(self, number: int, stands: Sequence[Stand]) -> None:
        turn = number % max(1, len(stands))
        for case in self._cases:
            for stand in [*stands[turn:], *stands[:turn]]:
                subject = stand[case.nagle]
                if self._terms.quick and time.monotonic() - self._began > QUICK_SECONDS:
                    self._terms.say(f"no time left for: {case.name}: {subject.name}")
                    continue
                self._terms.say(f"round {number + 1}: {case.name}: {subject.name}")
                self._one(case, subject)
        if self._terms.runs(CONTEXTS_CASE):
            for stand in stands:
                self._associations(stand[False])

    def _renewed(self, name: str) -> list[Path]:
        self._serial += 1
        self._sets[name].renew(self._serial)
        return self._sets[name].files

    def _one(self, case: Case, subject: Subject) -> None:
        files = self._renewed(case.set_name)
        files = files[: max(case.associations, round(len(files) * case.share))]
        try:
            seconds, cpu, indexed = self._push(
                subject, files, associations=case.associations, nagle=case.nagle
            )
        except (PushFailed, TimeoutError) as why:
            self._terms.say(f"[red]{case.name}: {subject.name}: {why}")
            return
        size = sum(path.stat().st_size for path in files)
        peak_tree, peak_process = subject.tree.peaks_mb()
        for measure, unit, figure in (
            (RATE, "1/s", len(files) / seconds),
            ("bytes", "MB/s", size / seconds / 1e6),
            (CPU, "ms", cpu / len(files)),
            ("settled after", "s", indexed),
            ("peak, tree", "MB", peak_tree),
            ("peak, process", "MB", peak_process),
        ):
            self._figures.add(case.name, subject.name, measure, unit, figure)

    def _push(
        self, subject: Subject, files: Sequence[Path], *, associations: int, nagle: bool
    ) -> tuple[float, float, float]:
        """Return seconds, CPU ms, and seconds from the last answer until all is where it stays."""
        held = subject.arrived()
        subject.tree.forget_peaks()
        cpu = subject.tree.cpu_ms()
        seconds = push(
            files, subject.port, subject.ae_title, associations=associations, nagle=nagle
        )
        answered = time.monotonic()
        expected = held + len(files)
        try:
            wait_for(lambda: subject.arrived() >= expected, SETTLE_SECONDS, "every file arrives")
        except TimeoutError as late:
            raise PushFailed(f"{subject.arrived() - held} of {len(files)} arrived") from late
        indexed = time.monotonic() - answered
        if isinstance(subject, Radfed) and (aside := subject.set_aside()):
            self._terms.say(f"[yellow]{aside} instances are in the vault, not in the store")
        return seconds, subject.tree.cpu_ms() - cpu, indexed

    def _associations(self, subject: Subject) -> None:
        count = 30 if self._terms.quick else 100
        associate(subject.port, subject.ae_title, 3)
        time.sleep(0.2)  # what the last ones leave behind
        cpu = subject.tree.cpu_ms()
        try:
            associate(subject.port, subject.ae_title, count)
        except OSError as why:
            self._terms.say(f"[red]{CONTEXTS_CASE}: {subject.name}: {why}")
            return
        cpu = subject.tree.cpu_ms() - cpu
        self._figures.add(CONTEXTS_CASE, subject.name, "CPU per association", "ms", cpu / count)

    def _door_alone(self) -> None:
        """Compare the receiver over a plain disk with no protocol at all."""
        if not self._terms.runs(DOOR_CASE):
            return
        for name, module in ((RECEIVE_ONLY, "receive_only"), (PLAIN_COPY, "plain_copy")):
            if self._terms.wants(name):
                files = self._renewed("ct")
                self._terms.say(f"{DOOR_CASE}: {name}")
                self._one_door(name, module, files)

    def _one_door(self, name: str, module: str, files: Sequence[Path]) -> None:
        self._serial += 1
        into = self._terms.directory / f"{module}{self._serial}"
        into.mkdir()
        port = free_port()
        command = python("-m", f"tests.bench.ingest.{module}", str(port), str(into))
        with running(Tree(command, self._terms.directory / f"{module}.log"), port) as tree:
            cpu, began = tree.cpu_ms(), time.monotonic()
            if name == PLAIN_COPY:
                send(files, port)
                seconds = time.monotonic() - began
            else:
                seconds = push(files, port, "RADFED", associations=1, nagle=False)
            cpu = tree.cpu_ms() - cpu
        arrived = list(into.iterdir())
        if len(arrived) != len(files):
            raise PushFailed(f"{name}: {len(arrived)} of {len(files)} arrived")
        for path in arrived:
            path.unlink()
        self._figures.add(DOOR_CASE, name, CPU, "ms", cpu / len(files))
        self._figures.add(DOOR_CASE, name, RATE, "1/s", len(files) / seconds)
