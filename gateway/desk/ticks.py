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


@dataclass(frozen=True, slots=True)
class Held:
    """An answer that is made and waits for its tick."""

    due: float
    report: Report
    answer: question_pb2.Answer
    requester: str


def due(arrived: float, finished: float, tick: float) -> float:
    """Return the first tick after arrival at which the answer is there."""
    if tick <= 0:
        return finished
    return arrived + tick * max(1, ceil((finished - arrived) / tick))
