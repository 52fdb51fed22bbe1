"""The lines of connected gateways: what a desk offers reaches a site that is here now."""

import asyncio

from coordinator.model import Caller, Clock, Offer
from protos.v1.job_pb2 import JobOffer, RoundTask, Withdrawal
from protos.v1.link_pb2 import ConnectResponse, Settled
from protos.v1.question_pb2 import Question
from protos.v1.sum_pb2 import SumCall

# What may wait for one slow reader; past that the line is cut, and offers repeat on the next.
WAITING_AT_MOST = 4096  # messages
WAITING_BYTES = 4 << 20
SILENT_HEARTBEATS = 4  # missed ones after which a line counts as dead

Key = tuple[str, str]


class Line:
    """One open control stream; each offer goes over it once."""

    def __init__(self, caller: Caller, now: float) -> None:
        self.caller = caller
        self.last_heard = now
        self._queue: asyncio.Queue[ConnectResponse | None] = asyncio.Queue(WAITING_AT_MOST)
        self._waiting_bytes = 0
        self._offered: set[Key] = set()
        self._cut = False
        self.fault: Exception | None = None  # why it was cut, where the site is to be told

    @property
    def site(self) -> str:
        return self.caller.identity.name

    def offer(self, offer: Offer) -> None:
        key = (type(offer).__name__, _identifier(offer))
        if key not in self._offered:
            self._offered.add(key)
            self._put(_wrapped(offer))

    def tell(self, message: ConnectResponse) -> None:
        self._put(message)

    def settle(self, report_id: str) -> None:
        self._put(ConnectResponse(settled=Settled(report_id=report_id)))

    def cut(self, fault: Exception | None = None) -> None:
        """End the line; whatever waits on it is offered again on the next one."""
        self._cut = True
        self.fault = self.fault or fault
        try:
            self._queue.put_nowait(None)
        except asyncio.QueueFull:
            self._queue.get_nowait()
            self._queue.put_nowait(None)

    async def next(self) -> ConnectResponse | None:
        """Return the next message; None when the line is cut."""
        message = None if self._cut else await self._queue.get()
        if message is not None:
            self._waiting_bytes -= message.ByteSize()
        return message

    def _put(self, message: ConnectResponse) -> None:
        size = message.ByteSize()
        # One message always fits: a manifest alone may be long.
        if self._waiting_bytes and self._waiting_bytes + size > WAITING_BYTES:
            self.cut()
            return
        try:
            self._queue.put_nowait(message)
            self._waiting_bytes += size
        except asyncio.QueueFull:
            self.cut()


class Switchboard:
    def __init__(self, clock: Clock, heartbeat_seconds: int) -> None:
        self._clock = clock
        self._silence = heartbeat_seconds * SILENT_HEARTBEATS
        self._lines: dict[str, Line] = {}

    def open(self, caller: Caller) -> Line:
        """Open a site's line; an older one of the same site is cut: the newest is the live one."""
        line = Line(caller, self._clock())
        older = self._lines.pop(line.site, None)
        if older is not None:
            older.cut()
        self._lines[line.site] = line
        return line

    def close(self, line: Line) -> bool:
        """Forget a line; False where a newer one took its place."""
        if self._lines.get(line.site) is not line:
            return False
        del self._lines[line.site]
        return True

    def deliver(self, site: str, offer: Offer) -> None:
        line = self._lines.get(site)
        if line is not None:
            line.offer(offer)

    def lines(self) -> tuple[Line, ...]:
        return tuple(self._lines.values())

    def silent(self) -> tuple[Line, ...]:
        limit = self._clock() - self._silence
        return tuple(line for line in self._lines.values() if line.last_heard < limit)

    def cut(self, site: str, fault: Exception) -> None:
        """End a site's line, and let it know why."""
        line = self._lines.get(site)
        if line is not None:
            line.cut(fault)

    def cut_all(self) -> None:
        for line in self.lines():
            line.cut()


def _identifier(offer: Offer) -> str:
    match offer:
        case Question():
            return offer.question_id
        case RoundTask():
            return offer.task_id
        case SumCall():
            return f"{offer.task_id}/{offer.WhichOneof('step')}"
        case JobOffer() | Withdrawal():
            return offer.job_id


def _wrapped(offer: Offer) -> ConnectResponse:
    match offer:
        case Question():
            return ConnectResponse(question=offer)
        case JobOffer():
            return ConnectResponse(job_offer=offer)
        case RoundTask():
            return ConnectResponse(round_task=offer)
        case SumCall():
            return ConnectResponse(sum=offer)
        case Withdrawal():
            return ConnectResponse(withdrawal=offer)
