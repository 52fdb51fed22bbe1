"""Storage commitment at the door: an N-ACTION comes in, and its report may go out the same way."""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

from gateway.errors import GatewayError
from gateway.intake.commitment import (
    REQUEST_AT_MOST,
    BadRequest,
    Commitments,
    NoPlace,
    Report,
    read_request,
)
from gateway.intake.dimse import Command, Status
from gateway.intake.request import OnEvent

NO_PLACE: Final = "too many requests are open"


class Asked:
    """One N-ACTION: success says that the request is kept, durably, and will be reported on."""

    def __init__(
        self, command: Command, desk: "CommitmentDesk", transfer_syntax: str, on_event: OnEvent
    ) -> None:
        self.command = command
        self._desk = desk
        self._transfer_syntax = transfer_syntax
        self._on_event = on_event
        self._raw = bytearray()
        self._size = 0

    def write(self, *parts: memoryview) -> None:
        self._size += sum(map(len, parts))
        if self._size <= REQUEST_AT_MOST:
            self._raw += b"".join(parts)

    def finish(self) -> tuple[Status, str]:
        status, comment = self._judge()
        event = "commitment_asked" if status is Status.SUCCESS else "commitment_not_taken"
        self._on_event(event, status=f"{status:04X}", size=self._size)
        return status, comment

    def abandon(self) -> None:
        """Nothing was kept."""

    def _judge(self) -> tuple[Status, str]:
        if self._size > REQUEST_AT_MOST:
            return Status.RESOURCE_LIMITATION, "too many references in one request"
        try:
            self._desk.take(self._raw, self._transfer_syntax)
        except BadRequest as fault:
            return fault.status, str(fault)
        except NoPlace:
            return Status.RESOURCE_LIMITATION, NO_PLACE
        except (OSError, sqlite3.Error) as fault:
            self._on_event("commitment_failed", fault=type(fault).__name__)
            return Status.RESOURCE_LIMITATION, "no room or no working disk"
        except Exception as fault:  # noqa: BLE001 - a door: every fault becomes a status
            self._on_event("commitment_failed", fault=type(fault).__name__)
            return Status.PROCESSING_FAILURE, "fault of the receiver"
        return Status.SUCCESS, ""


class CommitmentDesk:
    """One association's dealings with the book of commitments."""

    def __init__(
        self, commitments: Commitments, peer: str, on_event: OnEvent, reading: Lock
    ) -> None:
        self._commitments = commitments
        self._reading = reading  # one request at a time: 2 MB of references take 34 to read
        self._on_event = on_event
        self._peer = peer
        self._holder = secrets.token_hex(8)
        self._asked = False
        self._reported: Report | None = None

    def take(self, raw: bytearray, transfer_syntax: str) -> None:
        with self._reading:
            request = read_request(raw, transfer_syntax)
        self._commitments.take(self._peer, request, self._holder)
        self._asked = True

    def due(self) -> Report | None:
        """Return a report to be sent now, if there is one; one at a time (PS3.7 D.3.3.3)."""
        if not self._asked or self._reported is not None:
            return None
        with self._whatever_the_disk_does():
            self._reported = self._commitments.claim(self._holder)
        return self._reported

    def answered(self, status: int) -> None:
        assert self._reported is not None
        number, self._reported = self._reported.number, None
        with self._whatever_the_disk_does():
            self._commitments.answered(number, status)

    def leave(self) -> None:
        """Let what was not answered here be delivered elsewhere."""
        if self._asked:
            with self._whatever_the_disk_does():
                self._commitments.let_go(self._holder)

    @contextmanager
    def _whatever_the_disk_does(self) -> Iterator[None]:
        """Keep the association: what is not written now is delivered once its hold has run out."""
        try:
            yield
        except (OSError, GatewayError, sqlite3.Error) as fault:
            self._on_event("commitment_failed", fault=type(fault).__name__)
