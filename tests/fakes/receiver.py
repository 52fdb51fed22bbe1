"""A running DICOM door for tests: the real receiver on free ports, and what it said."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from ssl import SSLContext

from gateway.config import Intake, Peer
from gateway.intake.commitment import Commitments
from gateway.intake.custody import Custody
from gateway.intake.receiver import Receiver
from gateway.intake.sockets import listen

Listening = tuple[socket, SSLContext | None]
CALLERS = ("STORESCU", "DCMSEND", "ECHOSCU", "ORTHANC", "PYNETDICOM")
PEERS = tuple(Peer(name=ae.lower(), ae_title=ae) for ae in CALLERS)


@dataclass
class Running:
    sockets: list[Listening]
    stop: threading.Event
    thread: threading.Thread
    events: list[tuple[str, dict[str, object]]] = field(default_factory=list)

    @property
    def ports(self) -> list[int]:
        return [listening.getsockname()[1] for listening, _ in self.sockets]

    @property
    def port(self) -> int:
        return self.ports[0]

    @property
    def tls_port(self) -> int:
        return self.ports[-1]

    def seen(self, event: str) -> list[dict[str, object]]:
        return [facts for name, facts in list(self.events) if name == event]


@contextmanager
def a_receiver(
    custody: Custody,
    sockets: list[Listening] | None = None,
    *,
    commitments: Commitments | None = None,
    has_room: Callable[[], bool] = lambda: True,
    places_dir: Path | None = None,
    **settings,
) -> Iterator[Running]:
    config = Intake(**{"host": "127.0.0.1", "port": 0, "peers": PEERS, "processes": 1} | settings)
    sockets = listen(config) if sockets is None else sockets
    stop = threading.Event()
    events: list[tuple[str, dict[str, object]]] = []
    receiver = Receiver(
        config,
        custody,
        lambda event, /, **facts: events.append((event, facts)),
        commitments=commitments,
        has_room=has_room,
        places_dir=places_dir,
    )
    thread = threading.Thread(target=receiver.serve, args=(sockets, stop))
    thread.start()
    try:
        yield Running(sockets, stop, thread, events)
    finally:
        stop.set()
        thread.join(30)
        for listening, _ in sockets:
            listening.close()
        assert not thread.is_alive(), "the receiver did not stop"


def eventually(claim: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for what another thread or process is about to do."""
    ends = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.01)
