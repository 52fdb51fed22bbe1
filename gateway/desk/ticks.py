"""When an answer may leave: at ticks counted from the question's arrival, whatever it took.

An answer that was stored, one refused for want of budget and one that was counted would otherwise
be told apart by a watch. The first tick is longer than a count takes; one that takes longer waits
for the next, so that what is left to read is how many ticks.
"""

from dataclasses import dataclass
from math import ceil

from gateway.desk.book import Report
from protos.v1 import question_pb2

TICK_SECONDS = 0.5
# A job's code chooses when it ends, and so does what it hides in that: a round's end is told at
# ticks of its own, fine enough to hold nobody up, and which one is charged (ADR 211).
ROUND_TICK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Held:
    """An answer that is made and waits for its tick."""

    due: float
    report: Report
    answer: question_pb2.Answer
    requester: str


def moments(seconds: float) -> int:
    """Return how many ticks a round may end at that may take so long."""
    return ceil(seconds / ROUND_TICK_SECONDS) + 1


def due(arrived: float, finished: float, tick: float) -> float:
    """Return the first tick after arrival at which the answer is there."""
    if tick <= 0:
        return finished
    return arrived + tick * max(1, ceil((finished - arrived) / tick))
