"""One request: from its command to the status that answers it (PS3.7 9.1, PS3.4 B.2.3)."""

from typing import Protocol

from gateway.errors import ReserveReached
from gateway.intake.custody import Custody, Incoming
from gateway.intake.dimse import Command, Status
from gateway.intake.rules import VERDICTS
from gateway.model import Arrival


class OnEvent(Protocol):
    """Is told what happens at the door: names and numbers, never a word of a patient."""

    def __call__(self, event: str, /, **facts: object) -> None: ...


class Request:
    """Hands a dataset to custody as it arrives, and remembers what went wrong until it is answered.

    A refused request is still read to its end: the sender looks for our response only then.
    """

    def __init__(self, command: Command, status: Status, on_event: OnEvent) -> None:
        self.command = command
        self._status = status
        self._comment = ""
        self._on_event = on_event
        self._incoming: Incoming | None = None
        self._size = 0

    def begin(self, arrival: Arrival, custody: Custody) -> None:
        try:
            self._incoming = custody.begin(arrival)
        except Exception as fault:  # noqa: BLE001 - a door: every fault becomes a status
            self._fail(fault)

    def write(self, *parts: memoryview) -> None:
        self._size += sum(map(len, parts))
        if self._incoming is None:
            return
        try:
            self._incoming.write(*parts)
        except Exception as fault:  # noqa: BLE001 - as above
            self._fail(fault)

    def finish(self) -> tuple[Status, str]:
        """Return the status and its comment; success is a promise, so it waits for `commit`."""
        if self._incoming is not None:
            try:
                self._judge()
            except Exception as fault:  # noqa: BLE001 - as above
                self._fail(fault)
        if self._status is not Status.SUCCESS:
            self._on_event("instance_refused", status=f"{self._status:04X}", size=self._size)
        return self._status, self._comment

    def abandon(self) -> None:
        """Forget an instance that will not be complete."""
        incoming, self._incoming = self._incoming, None
        if incoming is None:
            return
        try:
            incoming.abort()
        except Exception as fault:  # noqa: BLE001 - the connection is gone: nobody else can be told
            self._on_event("custody_failed", fault=type(fault).__name__)

    def _judge(self) -> None:
        assert self._incoming is not None
        verdict = self._incoming.commit()
        self._incoming = None
        kind = str(verdict.kind)
        self._status = VERDICTS[kind]
        if self._status is Status.SUCCESS:
            self._on_event(f"instance_{kind}", size=self._size)
        else:
            self._comment = verdict.reason

    def _fail(self, fault: Exception) -> None:
        self.abandon()
        if isinstance(fault, ReserveReached | OSError):
            self._status, self._comment = Status.OUT_OF_RESOURCES, "no room or no working disk"
        else:
            self._status, self._comment = Status.PROCESSING_FAILURE, "fault of the receiver"
        self._on_event("custody_failed", fault=type(fault).__name__)
