import asyncio

from coordinator.link.service import LinkServicer
from coordinator.link.switchboard import Switchboard
from coordinator.model import Caller
from protos.identity import Identity, Role
from protos.v1.link_pb2 import ConnectRequest
from protos.v1.question_pb2 import Answer


class SlowDesk:
    """Stores an answer, is slow, and then tells who asked."""

    def __init__(self) -> None:
        self.stored, self.told = asyncio.Event(), asyncio.Event()

    async def take_answer(self, _site, _answer) -> None:
        self.stored.set()
        await asyncio.sleep(0.05)
        self.told.set()


class Presence:
    def heard(self, _site, _skew=None) -> None:
        pass


def test_an_answer_whose_line_is_cut_while_it_is_stored_still_reaches_who_asked():
    async def story():
        desk, board = SlowDesk(), Switchboard(lambda: 0.0, 15)
        link = LinkServicer(Presence(), board, desk, None, None, None, None, lambda: 0.0, 15)
        line = board.open(Caller(Identity("demo", Role.GATEWAY, "alpha"), "1", 1e12))

        async def said():
            yield ConnectRequest(report_id="r1", answer=Answer(question_id="q1"))

        reading = asyncio.create_task(link._read(line, said()))
        await desk.stored.wait()
        reading.cancel()

        await asyncio.wait_for(desk.told.wait(), 5)

    asyncio.run(story())
