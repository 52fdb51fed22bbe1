"""`bench federation`: many gateways on one coordinator, beside the floor of gRPC itself.

Every gateway is a real link with a certificate, ledgers, desk and index of its own; their homes lie
in memory, because four hundred hospitals do not share one disk. The coordinator's lies on disk.
"""

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

from protos.v1.question_pb2 import COUNT_UNIT_PATIENTS, Operator, Predicate, Question
from tests.bench.federation.floor import Floor
from tests.bench.federation.harness import SHARED, Centre, Crowds, a_crowd
from tests.bench.registry import Terms
from tests.bench.rows import Figures, Goal, Row

SIZES, QUICK_SIZES = (400, 1000), (50,)
PER_PROCESS = 25  # more, and their threads wait for one interpreter; fewer, and none has a CPU
REPEATS, QUICK_REPEATS = 10, 5
IDLE_SECONDS, QUICK_IDLE_SECONDS = 20.0, 3.0
JOIN_SECONDS = 120.0
CERTIFICATE_SECONDS = 120.0
OURS, FLOOR = "radfed", "grpc floor"


def run(terms: Terms) -> list[Row]:
    """Enrol, connect, idle, ask, kill and come back, with every size."""
    figures = Figures("federation")
    sizes = QUICK_SIZES if terms.quick else SIZES
    sizes = tuple(size for size in sizes if terms.runs(f"{size} gateways"))
    for size in sizes:
        terms.say(f"{size} gateways")
        with tempfile.TemporaryDirectory(dir=SHARED, prefix="radfed-crowd-") as shared:
            _measure(figures, terms, size, Path(shared))
    return figures.rows([OURS], [goal for size in sizes for goal in _goals(size)])


def _goals(size: int) -> list[Goal]:
    case = f"{size} gateways"
    found = [
        Goal(case, OURS, "all answered, p95", at_most=1.0),
        Goal(case, OURS, "all answered, p95", at_most=2.0, peer=FLOOR),
        Goal(case, OURS, "coordinator at most", at_most=1000.0),
        Goal(case, OURS, "coordinator idle", at_most=300.0),
        Goal(case, OURS, "back after a restart", at_most=10.0),
        Goal(case, OURS, "short call under load, p99", at_most=50.0),
    ]
    return found if size <= max(QUICK_SIZES[0], SIZES[0]) else []


def _measure(figures: Figures, terms: Terms, size: int, shared: Path) -> None:
    case = f"{size} gateways"

    def add(measure: str, unit: str, figure: float, subject: str = OURS) -> None:
        terms.say(f"  {subject}: {measure} {figure:.3g} {unit}")
        figures.add(case, subject, measure, unit, figure)

    processes = max(2, -(-size // PER_PROCESS))
    home = terms.directory / f"of-{size}"
    home.mkdir()
    with a_crowd(home, shared, size, processes) as (centre, crowds):
        crowds.raise_()
        tokens = centre.invite(crowds.sites)
        began = time.monotonic()
        said = crowds.enrol(tokens)
        assert sum(share["enrolled"] for share in said) == size, said
        add("enrolled in one go", "s", time.monotonic() - began)
        began = time.monotonic()
        crowds.all("connect")
        crowds.wait_connected(JOIN_SECONDS)
        add("connected", "s", time.monotonic() - began)
        assert centre.tree is not None
        _idle(add, centre, QUICK_IDLE_SECONDS if terms.quick else IDLE_SECONDS)
        centre.tree.forget_peaks()
        repeats = QUICK_REPEATS if terms.quick else REPEATS
        for rounds in range(terms.rounds):
            _ask(figures, case, centre, size, repeats, new=rounds)
            with _floor(centre, crowds) as floor:
                _ask_floor(figures, case, floor, repeats)
        add("coordinator at most", "MB", centre.tree.peaks_mb()[0])
        add("back after a restart", "s", _restarted(centre, crowds))


def _idle(add, centre: Centre, seconds: float) -> None:
    assert centre.tree is not None
    time.sleep(2)
    before = centre.tree.cpu_ms()
    time.sleep(seconds)
    add("coordinator idle", "MB", centre.tree.peaks_mb()[0])
    add("coordinator idle, of a core", "%", (centre.tree.cpu_ms() - before) / seconds / 10)


def _ask(figures: Figures, case: str, centre: Centre, size: int, repeats: int, new: int) -> None:
    """Ask a new question once, then again and again: the gateways answer from what they keep."""
    values = ("CT", "MR", "DX", "CR", "US", "PT")
    where = [Predicate(field="Modality", operator=Operator.OPERATOR_EQUAL, values=[values[new]])]
    with centre.requester() as client, _short_calls(centre) as short:
        fresh = centre.ask(client, Question(unit=COUNT_UNIT_PATIENTS, where=where))
        figures.add(case, OURS, "all answered a new question", "s", fresh.seconds)
        waits = []
        for _ in range(repeats):
            asked = centre.ask(client, Question(unit=COUNT_UNIT_PATIENTS, where=where))
            assert sum(asked.states.values()) == size, asked.states
            assert set(asked.states) <= {1, 2}, asked.states  # VALUE and BELOW_THRESHOLD
            waits.append(asked.seconds)
    figures.add(case, OURS, "all answered, p95", "s", _percentile(waits, 95))
    figures.add(case, OURS, "short call under load, p99", "ms", 1000 * _percentile(short, 99))


def _ask_floor(figures: Figures, case: str, floor: Floor, repeats: int) -> None:
    waits = [max(floor.ask(bytes(400))) for _ in range(repeats)]
    figures.add(case, FLOOR, "all answered, p95", "s", _percentile(waits, 95))


@contextmanager
def _floor(centre: Centre, crowds: Crowds) -> Iterator[Floor]:
    """Let every hospital join the trivial servicer; their links to the coordinator stay up."""
    keys = centre.home / "keys"
    chain = (keys / "server.crt").read_bytes()
    floor = Floor((keys / "roots.crt").read_bytes(), (keys / "server.key").read_bytes(), chain)
    try:
        crowds.all("echo", port=floor.port)
        ends = time.monotonic() + JOIN_SECONDS
        while floor.joined < len(crowds.sites):
            if time.monotonic() > ends:
                raise TimeoutError(f"{floor.joined} joined the floor")
            time.sleep(0.05)
        yield floor
    finally:
        crowds.all("hush")
        floor.stop()


@contextmanager
def _short_calls(centre: Centre) -> Iterator[list[float]]:
    """Make one short call after another from another thread: what the loop lets others wait."""
    waits: list[float] = []
    over = threading.Event()

    def call() -> None:
        with centre.operator() as client:
            client.projects()
            while not over.wait(0.02):
                began = time.monotonic()
                client.projects()
                waits.append(time.monotonic() - began)

    caller = threading.Thread(target=call)
    caller.start()
    try:
        yield waits
    finally:
        over.set()
        caller.join()


def _restarted(centre: Centre, crowds: Crowds) -> float:
    """Kill the coordinator; return how long after its start everybody is there again."""
    centre.kill()
    time.sleep(3)
    centre.start()
    began = time.monotonic()
    while centre.connected() < len(crowds.sites):
        if time.monotonic() - began > JOIN_SECONDS:
            raise TimeoutError(f"{centre.connected()} of {len(crowds.sites)} came back")
        time.sleep(0.2)
    return time.monotonic() - began


def _percentile(values: list[float], percent: int) -> float:
    if len(values) < 2:
        return values[0]
    return quantiles(values, n=100, method="inclusive")[percent - 1]
