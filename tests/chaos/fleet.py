"""A federation in bad weather: whatever dies, is cut, or runs full, work ends right or says why.

Fifty hospitals in a few processes behind one road, and a coordinator; a requester asks without
pause while a seeded hand kills, freezes, cuts, slows, fills disks and turns clocks. A supervisor
starts what died again, as systemd does; nothing else is done by hand.
"""

import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from coordinator.errors import CoordinatorError
from protos.v1.question_pb2 import (
    COUNT_UNIT_PATIENTS,
    Answer,
    AnswerState,
    Operator,
    Predicate,
    Question,
)
from tests.bench.federation.harness import SHARED, Centre, Crowd
from tests.bench.processes import free_port
from tests.chaos.full_disks import can_mount, fill, small_disk
from tests.chaos.relay import Relay, Weather

PROCESSES = 5
CERTIFICATE_SECONDS = 150.0
SETTLES_SECONDS = 90.0
QUESTION_SECONDS = 10
PATIENTS = 40
DISK_MB = 400  # ten hospitals' tables and their journals
LEAVE = 8_192  # bytes of a disk that ran full


def _questions() -> list[Question]:
    """Return the questions that are asked over and over: each is charged once."""
    asked = [("Modality", "CT"), ("Modality", "MR"), ("BodyPartExamined", "CHEST")]
    asked += [("PatientSex", sex) for sex in ("F", "M")]
    return [
        Question(
            unit=COUNT_UNIT_PATIENTS,
            where=[Predicate(field=name, operator=Operator.OPERATOR_EQUAL, values=[value])],
        )
        for name, value in asked
    ]


@dataclass
class Record:
    """What came of the work, and what did not hold."""

    questions: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # typed reasons of whole questions
    states: Counter[str] = field(default_factory=Counter)
    first: dict[tuple[int, str], bytes] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def take(self, number: int, site: str, answer: Answer) -> None:
        self.states[AnswerState.Name(answer.state)] += 1
        if answer.state in {AnswerState.ANSWER_STATE_OFFLINE, AnswerState.ANSWER_STATE_UNSPECIFIED}:
            return
        told = Answer()
        told.CopyFrom(answer)
        told.question_id = ""
        body = told.SerializeToString(deterministic=True)
        if self.first.setdefault((number, site), body) != body:
            self.broken.append(f"{site} answered question {number} in two ways")


class Fleet:
    """The processes, what may happen to them, and who sets them up again."""

    def __init__(self, directory: Path, hospitals: int, draw: random.Random) -> None:
        self.draw = draw
        self._directory = directory
        self._stack = ExitStack()
        self.sites = [f"hospital-{number:03d}" for number in range(hospitals)]
        self.shares = [self.sites[number::PROCESSES] for number in range(PROCESSES)]
        port = free_port()
        self.relay = Relay(port)
        self.centre = Centre.found(
            directory / "centre",
            self.sites,
            port,
            public_address=f'"127.0.0.1:{self.relay.port}"',
            gateway_days=CERTIFICATE_SECONDS / 86400,
            heartbeat_seconds=2,
        )
        homes = Path(self._stack.enter_context(tempfile.TemporaryDirectory(dir=SHARED)))
        self.homes = [homes / str(number) for number in range(PROCESSES)]
        for home in self.homes:
            home.mkdir()
            if can_mount():
                self._stack.enter_context(small_disk(home, DISK_MB))
        self.crowds: list[Crowd] = []
        self.restarts = Counter[str]()

    def start(self) -> None:
        self.centre.start()
        self.crowds = [self._raised(number) for number in range(PROCESSES)]
        tokens = self.centre.invite(self.sites)
        for crowd, share in zip(self.crowds, self.shares, strict=True):
            said = crowd.tell("enrol", tokens={site: tokens[site] for site in share})
            assert said["enrolled"] == len(share), said
            crowd.tell("connect")

    def connected(self) -> int:
        return sum(crowd.tell("state")["connected"] for crowd in self.crowds)

    def wait_connected(self, seconds: float) -> float:
        began = time.monotonic()
        while (there := self.connected()) < len(self.sites):
            if time.monotonic() - began > seconds:
                says = [crowd.tell("state")["says"] for crowd in self.crowds]
                raise TimeoutError(f"{there} of {len(self.sites)} came back: {says}")
            time.sleep(0.2)
        return time.monotonic() - began

    def stop(self) -> None:
        for crowd in self.crowds:
            crowd.stop()
        self.centre.stop()
        self.relay.stop()
        self._stack.close()

    # What may happen. Each lasts a while and ends with everything as it was.

    def mishaps(self) -> dict[str, Callable[[], None]]:
        found = {
            "coordinator killed": self._kill_centre,
            "coordinator frozen": self._freeze_centre,
            "gateways killed": self._kill_crowd,
            "gateways frozen": self._freeze_crowd,
            "connections cut": self._cut,
            "road closed": self._close_road,
            "road slow": self._slow_road,
            "clocks wrong": self._turn_clocks,
            "certificates run out": self._outlast_certificates,
        }
        if can_mount():
            found["gateways' disk full"] = self._fill_crowd
        return found

    def _pause(self, least: float, most: float) -> None:
        time.sleep(self.draw.uniform(least, most))

    def _kill_centre(self) -> None:
        self.centre.kill()
        self._pause(0.5, 12)
        self.centre.start()
        self.restarts["coordinator"] += 1

    def _freeze_centre(self) -> None:
        assert self.centre.tree is not None
        pids = list(self.centre.tree.pids())
        _signal(pids, signal.SIGSTOP)
        self._pause(1, 12)
        _signal(pids, signal.SIGCONT)

    def _kill_crowd(self, least: float = 0.5, most: float = 12) -> None:
        number = self.draw.randrange(PROCESSES)
        self.crowds[number].kill()
        self._pause(least, most)
        self.crowds[number] = self._raised(number)
        self.crowds[number].tell("connect")
        self.restarts["gateways"] += len(self.shares[number])

    def _freeze_crowd(self) -> None:
        crowd = self.draw.choice(self.crowds)
        crowd.signal(signal.SIGSTOP)
        self._pause(1, 12)
        crowd.signal(signal.SIGCONT)

    def _cut(self) -> None:
        for _ in range(self.draw.randint(1, 8)):
            self.relay.cut()
            self._pause(0.1, 1.5)

    def _close_road(self) -> None:
        self._under(Weather(closed=True))

    def _slow_road(self) -> None:
        self._under(Weather(delay_seconds=0.3, bytes_per_second=250_000))

    def _under(self, weather: Weather) -> None:
        self.relay.weather = weather
        if weather.closed:
            self.relay.cut()
        self._pause(3, 15)
        self.relay.weather = Weather()

    def _turn_clocks(self) -> None:
        number = self.draw.randrange(PROCESSES)
        some = self.draw.sample(self.shares[number], k=max(1, len(self.shares[number]) // 2))
        by = self.draw.choice((-3600.0, -600.0, 600.0))
        self.crowds[number].tell("skew", sites=some, seconds=by)
        self.relay.cut()  # a clock is looked at when a conversation begins
        self._pause(5, 15)
        self.crowds[number].tell("skew", sites=some, seconds=0.0)

    def _outlast_certificates(self) -> None:
        self._kill_crowd(CERTIFICATE_SECONDS + 5, CERTIFICATE_SECONDS + 10)

    def _fill_crowd(self) -> None:
        home = self.draw.choice(self.homes)
        with suppress(OSError):  # others write meanwhile: it is full all the same
            fill(home, LEAVE)
        self._pause(3, 15)
        (home / "ballast").unlink()

    def _raised(self, number: int) -> Crowd:
        crowd = Crowd(self.homes[number], self._directory / f"crowd-{number}.log")
        settings = {"heartbeat_seconds": 2.0, "reconnect_seconds_at_most": 5.0}
        crowd.tell("raise_", sites=self.shares[number], patients=PATIENTS, settings=settings)
        return crowd


def fleet(
    directory: Path,
    hospitals: int,
    minutes: float,
    seed: int,
    without: frozenset[str] = frozenset(),
) -> dict[str, object]:
    """Let mishaps come for so long while questions are asked; return what was seen.

    `without`: mishaps that are left out of a short run.
    """
    draw = random.Random(seed)
    house = Fleet(directory, hospitals, draw)
    record, over = Record(), threading.Event()
    happened = Counter[str]()
    try:
        house.start()
        house.wait_connected(SETTLES_SECONDS)
        asking = threading.Thread(target=_ask, args=(house.centre, record, over))
        asking.start()
        for name, mishap in _until(minutes, house, without):
            happened[name] += 1
            mishap()
            time.sleep(draw.uniform(1, 6))
        back = house.wait_connected(SETTLES_SECONDS)
        over.set()
        asking.join()
        last = _last_words(house.centre, record, hospitals)
        chains = [crowd.tell("verify") for crowd in house.crowds]
        charged = Counter(n for chain in chains for n in chain["charged"].values())
        if set(charged) != {len(_questions())}:
            record.broken.append(f"charged other than once for each question: {dict(charged)}")
        house.centre.stop()
        audited = house.centre.audited()
    finally:
        over.set()
        house.stop()
    seen = {
        "hospitals": hospitals,
        "minutes": minutes,
        "mishaps": dict(happened),
        "restarts": dict(house.restarts),
        "questions": record.questions,
        "answers": dict(record.states),
        "questions refused": dict(record.refused),
        "all back after": round(back, 1),
        "last question": last,
        "gateways' chains": sum(chain["audited"] + chain["sent"] for chain in chains),
        "coordinator's chain": audited,
        "broken": record.broken,
    }
    assert not record.broken, seen
    return seen


def _until(
    minutes: float, house: Fleet, without: frozenset[str]
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield mishaps, each once before any comes again, until the time is over."""
    ends = time.monotonic() + 60 * minutes
    while True:
        mishaps = [each for each in house.mishaps().items() if each[0] not in without]
        house.draw.shuffle(mishaps)
        for name, mishap in mishaps:
            if time.monotonic() > ends:
                return
            yield name, mishap


def _ask(centre: Centre, record: Record, over: threading.Event) -> None:
    questions = _questions()
    while not over.is_set():
        number = record.questions % len(questions)
        record.questions += 1
        with suppress(CoordinatorError):
            _one(centre, record, number, QUESTION_SECONDS)
        over.wait(0.5)


def _one(centre: Centre, record: Record, number: int, seconds: int) -> Counter[str]:
    """Ask once; what the whole question is refused for is typed, and is counted."""
    states = Counter[str]()
    try:
        with centre.requester() as client:
            question = centre.signed(_questions()[number])
            for said in client.ask(question, deadline_seconds=seconds):
                if said.HasField("site_answer"):
                    record.take(number, said.site_answer.site, said.site_answer.answer)
                    states[AnswerState.Name(said.site_answer.answer.state)] += 1
    except CoordinatorError as fault:
        record.refused[f"{type(fault).__name__}: {fault}"[:120]] += 1
        raise
    return states


def _last_words(centre: Centre, record: Record, hospitals: int) -> dict[str, int]:
    """Ask everything once more in fair weather: everybody answers."""
    totals = Counter[str]()
    for number in range(len(_questions())):
        states = _one(centre, record, number, 30)
        totals += states
        there = states["ANSWER_STATE_VALUE"] + states["ANSWER_STATE_BELOW_THRESHOLD"]
        if there != hospitals:
            record.broken.append(f"question {number} in fair weather: {dict(states)}")
    return dict(totals)


def _signal(pids: list[int], number: signal.Signals) -> None:
    import os

    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
