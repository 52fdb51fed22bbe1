"""One instance on its way in: its bytes in order, then a verdict that is durable."""

from typing import Final

from gateway.durable import NO_ROOM
from gateway.line.header import first_lane
from gateway.line.terms import Lane, Means, NoRoom, Receipt, Verdict
from gateway.model import Arrival

LOOKS_EVERY: Final = 16 << 20  # bytes of one instance, from one look at the disk to the next


class Incoming:
    """Hashes what comes and hands it to the lane it is on; a lane may hand over to another."""

    def __init__(self, means: Means, arrival: Arrival) -> None:
        self._received = means.store.seal.received_print()
        self._size = 0
        self._looks_at = LOOKS_EVERY
        self._means = means
        self._claim = means.header_memory.claim()
        self._lane: Lane | None = first_lane(means, arrival, self._claim)

    def write(self, *chunks: bytes | bytearray | memoryview) -> None:
        """Take the next bytes of the dataset; the buffers are the caller's again on return."""
        views = [memoryview(chunk) for chunk in chunks]
        for view in views:
            self._received.update(view)
            self._size += len(view)
        try:
            if self._size >= self._looks_at:  # no header says how long it will be
                self._means.require_room(0)
                self._looks_at = self._size + LOOKS_EVERY
            self._lane = self._open_lane().take(*views)
        except BaseException as fault:
            self._give_up(fault)
            raise

    def commit(self) -> Verdict:
        """Answer for the whole dataset; durable on return, nothing kept if it raises."""
        receipt = Receipt(self._received.digest(), self._size)
        try:
            return self._open_lane().finish(receipt)
        except BaseException as fault:
            self._give_up(fault)
            raise
        finally:
            self.abort()

    def abort(self) -> None:
        """Leave nothing; harmless after a commit, and twice."""
        if self._lane is not None:
            self._lane.abort()
            self._lane = None
        self._claim.release()

    def _open_lane(self) -> Lane:
        if self._lane is None:
            raise ValueError("this instance was committed or aborted")
        return self._lane

    def _give_up(self, fault: BaseException) -> None:
        """Clean up; a full disk is told apart, so that the sender keeps its copy and comes back."""
        self.abort()
        if isinstance(fault, OSError) and fault.errno in NO_ROOM:
            raise NoRoom from fault
