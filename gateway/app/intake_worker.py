"""One receiver process: inherited sockets, its own custody, counters in a file of its own."""

import threading
from collections import Counter
from contextlib import suppress
from socket import socket
from ssl import SSLContext
from typing import Any

from gateway.app.build import build_audit, build_custody
from gateway.app.callers import Callers
from gateway.app.commitment import build_book, is_granted
from gateway.app.lean import settle
from gateway.app.process import (
    configure_logs,
    die_with_parent,
    harden,
    stop_on_signals,
    write_state,
)
from gateway.app.quiet import Quiet
from gateway.app.witness import Witness
from gateway.config import GatewayConfig
from gateway.durable import free_bytes
from gateway.intake.receiver import Receiver
from gateway.intake.sockets import tls_context

COUNTERS_EVERY_SECONDS = 1.0


class Counters:
    """What this process did since it started: numbers only."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def count(self, event: str, /, **_facts: object) -> None:
        with self._lock:
            self._counts[event] += 1

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)


def work(
    config: GatewayConfig,
    number: int,
    parent: int,
    fd: int | None,
    tls_fd: int | None,
    rests_after: float | None = None,
) -> None:
    """Receive until SIGTERM, or until nothing has come for so long; then finish what runs."""
    die_with_parent(parent)
    harden(None)  # the gateway that started this process has changed its user already
    configure_logs()
    stop = threading.Event()
    stop_on_signals(stop)
    leave = threading.Event()
    counters = Counters()
    sockets: list[tuple[socket, SSLContext | None]] = []
    if fd is not None:
        sockets.append((socket(fileno=fd), None))
    if tls_fd is not None and config.intake.tls is not None:
        sockets.append((socket(fileno=tls_fd), tls_context(config.intake.tls)))
    audit = build_audit(config)
    callers = Callers(counters.count, config.intake)
    quiet = Quiet(Witness(callers.hear, audit).hear)
    receiver = Receiver(
        config.intake,
        build_custody(config, audit, counters.count),
        quiet.hear,
        commitments=build_book(config) if is_granted(config) else None,
        has_room=lambda: free_bytes(config.store_dir) >= config.disk.reserve_bytes,
        places_dir=config.places_dir,
    )
    state = config.run_dir / f"intake-{number}.json"
    spoke = config.run_dir / f"callers-{number}.json"

    def keep_counters() -> None:
        shown: dict[str, int] = {}
        known: dict[str, dict[str, Any]] = {}
        while not stop.wait(COUNTERS_EVERY_SECONDS):
            if rests_after is not None and quiet.has_lasted(rests_after):
                leave.set()
            with suppress(OSError):  # a full disk: the next second may have room
                if (now := counters.snapshot()) != shown:
                    write_state(state, now)
                    shown = now
                if (last := callers.snapshot()) != known:
                    write_state(spoke, last)
                    known = last

    threading.Thread(target=keep_counters, name="counters", daemon=True).start()
    settle()
    try:
        receiver.serve(sockets, stop, leave)
    finally:
        write_state(state, counters.snapshot())
