import asyncio

import pytest

from coordinator.link.switchboard import WAITING_AT_MOST, WAITING_BYTES, Line
from coordinator.model import Caller
from protos.identity import Identity, Role
from protos.v1.link_pb2 import ConnectResponse, SignedManifest
from protos.v1.question_pb2 import Predicate, Question

CALLER = Caller(Identity("demo", Role.GATEWAY, "slow"), "01", 1e12)
LONG = 60_000


def a_question(number: int, size: int) -> Question:
    return Question(question_id=str(number), where=[Predicate(values=["x" * size])])


@pytest.mark.parametrize("size", [0, LONG])
def test_a_reader_that_does_not_read_is_cut_before_it_costs_much(size):
    async def story():
        line, held, most = Line(CALLER, 0.0), 0, 0
        for number in range(2 * WAITING_AT_MOST):
            line.offer(a_question(number, size))
            held = line._waiting_bytes
            most = max(most, held)
        return await line.next(), most, line._queue.qsize()

    cut, most, waiting = asyncio.run(story())

    assert cut is None
    assert most <= WAITING_BYTES
    assert waiting <= WAITING_AT_MOST


def test_a_reader_that_keeps_up_is_never_cut():
    async def story():
        line = Line(CALLER, 0.0)
        for number in range(300):  # far more than may wait
            line.offer(a_question(number, LONG))
            assert (await line.next()).question.question_id == str(number)
        line.tell(ConnectResponse(manifest=SignedManifest(content=bytes(WAITING_BYTES + 1))))
        return await line.next(), line._waiting_bytes

    last, left = asyncio.run(story())

    assert last.HasField("manifest")
    assert left == 0
