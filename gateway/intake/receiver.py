"""The DICOM door: accepts connections and gives each a thread (gateway/intake/association.py)."""

import errno
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from gateway.config import Intake
from gateway.intake.association import TICK_SECONDS, Association, Door
from gateway.intake.commitment import Commitments
from gateway.intake.custody import Custody
from gateway.intake.places import Places
from gateway.intake.request import OnEvent
from gateway.intake.rules import CONNECTING_AT_MOST, Admission
from gateway.intake.sockets import set_timeouts

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class WaitingRoom:
    """Counts who is served and who waits, so that nobody can take all the places.

    Connections that have not asked for an association are bounded apart from associations, and the
    oldest goes when there are too many: an honest sender asks within milliseconds.
    """

    def __init__(self, places: Places, on_event: OnEvent) -> None:
        self._places = places
        self._on_event = on_event
        self._lock = threading.Lock()
        self._waiting: dict[Association, None] = {}  # in order of arrival
        self._seated: dict[Association, tuple[str, tuple[int, int]]] = {}

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
        taken = self._places.take(peer)
        if taken is None:
            return False
        with self._lock:
            self._waiting.pop(association, None)
            self._seated[association] = peer, taken
        return True

    def leave(self, association: Association) -> None:
        with self._lock:
            self._waiting.pop(association, None)
            seated = self._seated.pop(association, None)
        if seated is not None:
            self._places.leave(*seated)

    @property
    def everyone(self) -> list[Association]:
        with self._lock:
            return [*self._waiting, *self._seated]


class Receiver:
    """Serves associations on sockets that are listening already, until it is told to stop."""

    def __init__(
        self,
        config: Intake,
        custody: Custody,
        on_event: OnEvent,
        *,
        commitments: Commitments | None = None,
        has_room: Callable[[], bool] = lambda: True,
        places_dir: Path | None = None,
    ) -> None:
        """Serve alone, or share places with other receivers through a directory."""
        self._config = config
        self._custody = custody
        self._on_event = on_event
        self._commitments = commitments
        self._has_room = has_room
        self._admission = Admission(config)
        places = Places(places_dir, config.max_associations, config.max_associations_per_peer)
        self._hall = WaitingRoom(places, on_event)

    def serve(
        self,
        sockets: Sequence[tuple[socket.socket, ssl.SSLContext | None]],
        stop: threading.Event,
        leave: threading.Event | None = None,
    ) -> None:
        """Accept until `stop`, then let running C-STOREs finish within the grace period.

        From `leave` on nobody more is accepted, and whoever is here is served to their own end.
        """
        leave = leave or threading.Event()
        door = Door(
            self._config,
            self._admission,
            self._custody,
            self._hall,
            self._on_event,
            stop,
            self._commitments,
            self._has_room,
        )
        doors = [
            threading.Thread(target=self._accept, args=(listening, tls, door, leave), name="door")
            for listening, tls in sockets
        ]
        for thread in doors:
            thread.start()
        for thread in doors:
            thread.join()
        while self._hall.everyone and not stop.wait(TICK_SECONDS):
            pass
        self._wait_until_empty()

    def _accept(
        self,
        listening: socket.socket,
        tls: ssl.SSLContext | None,
        door: Door,
        leave: threading.Event,
    ) -> None:
        # A blocking accept is woken in turn among the processes that share the socket.
        set_timeouts(listening, TICK_SECONDS, TICK_SECONDS)
        while not (door.stop.is_set() or leave.is_set()):
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
