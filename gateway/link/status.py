"""How the link is, in one small file that `status` reads while the gateway runs."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from threading import Lock

HEARD_SECONDS = 1.0


class LinkState(StrEnum):
    STARTING = "starting"
    CONNECTED = "connected"
    UNREACHABLE = "unreachable"  # no answer: the network, or the coordinator is down
    REFUSED = "refused"  # identity: certificates of either side
    CLOCK = "clock"  # the two clocks are too far apart
    VERSION = "version"  # no common protocol version
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class LinkStatus:
    state: LinkState = LinkState.STARTING
    coordinator: str = ""
    says: str = ""  # one sentence for an operator
    since: str = ""
    last_heard: str = ""
    clock_skew_seconds: float = 0.0
    connections: int = 0
    certificate_expires: str = ""


class StatusBoard:
    """Keeps the status and writes it, whole, whenever it changes.

    The file is for those who look: where a full disk has no room for it, the link goes on.
    """

    def __init__(self, path: Path, now: Callable[[], datetime], first: LinkStatus) -> None:
        self._path = path
        self._now = now
        self._status = first
        self._heard = datetime.fromtimestamp(0, UTC)
        self._lock = Lock()

    @property
    def status(self) -> LinkStatus:
        return self._status

    def change(self, state: LinkState, says: str = "", **facts: float | str) -> None:
        with self._lock:
            if (state, says) != (self._status.state, self._status.says):
                facts["since"] = self._now().isoformat()
            self._write(replace(self._status, state=state, says=says, **facts))  # type: ignore[arg-type]  # facts are fields

    def certified(self, until: datetime, address: str) -> None:
        """Note with which certificate, and where, the next conversation is held."""
        with self._lock:
            fresh = replace(
                self._status, certificate_expires=until.isoformat(), coordinator=address
            )
            if fresh != self._status:
                self._write(fresh)

    def heard(self) -> None:
        """Note a sign of life; several within a second are written once."""
        with self._lock:
            now = self._now()
            if abs((now - self._heard).total_seconds()) >= HEARD_SECONDS:
                self._heard = now
                self._write(replace(self._status, last_heard=now.isoformat()))

    def _write(self, status: LinkStatus) -> None:
        self._status = status
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft = self._path.with_suffix(f".{os.getpid()}.draft")
            draft.write_text(json.dumps(asdict(status)), "utf-8")
            draft.replace(self._path)


def read_status(path: Path) -> LinkStatus | None:
    """Return the last status a running gateway wrote, or None."""
    try:
        fields = json.loads(path.read_text("utf-8"))
        return LinkStatus(**fields | {"state": LinkState(fields["state"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
