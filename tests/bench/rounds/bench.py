"""`bench rounds`: what a round costs beside the work in it, beside Flower's deployment engine.

Three hospitals, no computation, models of 1 MB and 100 MB. Ours has mutual TLS, a sandbox, the gate
and its ledgers in it; Flower's has TLS and a process for each message. A round is what lies between
two averages; the first, in which everything starts, is left out. Both are run in turn.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.bench.processes import NotMeasured
from tests.bench.registry import Terms
from tests.bench.rounds import ours, peer
from tests.bench.rows import Figures, Goal, Row

OURS, FLOWER = "radfed", "flower"
VALUES = {"1 MB": 250_000, "100 MB": 25_000_000}
TURNS, TURNS_LARGE, QUICK_TURNS = 8, 4, 3
Measure = Callable[[Path, int, int], tuple[list[float], float]]
SUBJECTS: dict[str, Measure] = {OURS: ours.measure, FLOWER: peer.measure}


def run(terms: Terms) -> list[Row]:
    figures = Figures("rounds")
    sizes = [name for name in VALUES if terms.runs(name) and not (terms.quick and "100" in name)]
    absent: set[str] = set()
    for number in range(terms.rounds):
        for size in sizes:
            for subject, measure in SUBJECTS.items():
                if terms.wants(subject) and subject not in absent:
                    _measure(figures, terms, number, size, subject, measure, absent)
    goals = [
        Goal(size, OURS, measure, at_most=0.5, peer=FLOWER)
        for size in sizes
        for measure in ("round", "coordinator at most")
    ]
    return figures.rows([OURS], goals)


def _measure(
    figures: Figures,
    terms: Terms,
    number: int,
    size: str,
    subject: str,
    measure: Measure,
    absent: set[str],
) -> None:
    turns = QUICK_TURNS if terms.quick else TURNS if size == "1 MB" else TURNS_LARGE
    home = terms.directory / f"{subject}-{size.partition(' ')[0]}-{number}"
    try:
        seconds, peak = measure(home, VALUES[size], turns)
    except NotMeasured as why:
        terms.say(f"{subject} is left out: {why}")
        absent.add(subject)
        return
    finally:
        shutil.rmtree(home, ignore_errors=True)
    middle = sorted(seconds)[len(seconds) // 2]
    terms.say(f"{size}, {subject}: a round {middle:.2f} s, the coordinator {peak:.0f} MB")
    figures.add(size, subject, "round", "s", middle)
    figures.add(size, subject, "coordinator at most", "MB", peak)
