"""The DICOM door: accepts connections and gives each a thread (gateway/intake/association.py)."""

import errno
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

from gateway.config import Intake
from gateway.intake.association import TICK_SECONDS, Association, Door
from gateway.intake.custody import Custody
from gateway.intake.request import OnEvent
from gateway.intake.rules import CONNECTING_AT_MOST, Admission, Load
from gateway.intake.sockets import set_timeouts

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class WaitingRoom:
    """Counts who is served and who waits, so that nobody can take all the places.

    Connections that have not asked for an association are bounded apart from associations, and the
    oldest goes when there are too many: an honest sender asks within milliseconds.
    """

    def __init__(self, admission: Admission, on_event: OnEvent) -> None:
        self._admission = admission
        self._on_event = on_event
        self._lock = threading.Lock()
        self._waiting: dict[Association, None] = {}  # in order of arrival
        self._seated: dict[Association, str] = {}
        self._of_peer: Counter[str] = Counter()

    def enter(self, association: Association) -> None:
        with self._lock:
            self._waiting[association] = None
            evicted = None
            if len(self._waiting) > CONNECTING_AT_MOST:
                evicted = next(iter(self._waiting))
                del self._waiting[evicted]
        if evicted is not None:
            evicted.hang_up()
            self._on_event("connection_evicted")

    def seat(self, association: Association, peer: str) -> bool:
        with self._lock:
            load = Load(len(self._seated), self._of_peer[peer])
            if not self._admission.has_room(load):
                return False
            self._waiting.pop(association, None)
            self._seated[association] = peer
            self._of_peer[peer] += 1
            return True

    def leave(self, association: Association) -> None:
        with self._lock:
            self._waiting.pop(association, None)
            peer = self._seated.pop(association, None)
            if peer is not None:
                self._of_peer[peer] -= 1

    @property
    def everyone(self) -> list[Association]:
        with self._lock:
            return [*self._waiting, *self._seated]


class Receiver:
    """Serves associations on sockets that are listening already, until it is told to stop."""

    def __init__(self, config: Intake, custody: Custody, on_event: OnEvent) -> None:
        self._config = config
        self._custody = custody
        self._on_event = on_event
        self._admission = Admission(config)
        self._hall = WaitingRoom(self._admission, on_event)

    def serve(
        self, sockets: Sequence[tuple[socket.socket, ssl.SSLContext | None]], stop: threading.Event
    ) -> None:
        """Accept until `stop`, then let running C-STOREs finish within the grace period."""
        door = Door(self._config, self._admission, self._custody, self._hall, self._on_event, stop)
        doors = [
            threading.Thread(target=self._accept, args=(listening, tls, door), name="door")
            for listening, tls in sockets
        ]
        for thread in doors:
            thread.start()
        for thread in doors:
            thread.join()
        self._wait_until_empty()

    def _accept(self, listening: socket.socket, tls: ssl.SSLContext | None, door: Door) -> None:
        # A blocking accept is woken in turn among the processes that share the socket.
        set_timeouts(listening, TICK_SECONDS, TICK_SECONDS)
        while not door.stop.is_set():
            try:
                connection, address = listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue
            except OSError as fault:
                if fault.errno not in _EXHAUSTED:
                    raise
                self._on_event("accept_failed", fault=errno.errorcode[fault.errno])
                door.stop.wait(TICK_SECONDS)
                continue
            self._start(connection, address[0], tls, door)

    def _start(
        self, connection: socket.socket, address: str, tls: ssl.SSLContext | None, door: Door
    ) -> None:
        association = Association(door, connection, address, tls)
        self._hall.enter(association)
        try:
            threading.Thread(
                target=self._serve, args=(association,), name="association", daemon=True
            ).start()
        except RuntimeError:  # the system gives no more threads
            self._hall.leave(association)
            connection.close()
            self._on_event("accept_failed", fault="no thread")

    def _serve(self, association: Association) -> None:
        try:
            association.serve()
        except Exception as fault:  # noqa: BLE001 - a door: one association's defect stays its own
            self._on_event("association_failed", fault=type(fault).__name__)
        finally:
            self._hall.leave(association)

    def _wait_until_empty(self) -> None:
        ends = time.monotonic() + self._config.stop_grace_seconds + 2 * TICK_SECONDS
        while self._hall.everyone and time.monotonic() < ends:
            time.sleep(TICK_SECONDS / 10)
        for association in self._hall.everyone:
            association.hang_up()
        while self._hall.everyone and time.monotonic() < ends + TICK_SECONDS:
            time.sleep(TICK_SECONDS / 10)
