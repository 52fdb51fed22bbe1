"""The running gateway: receivers in processes, line, desk, link and pages in threads."""

import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from socket import socket

import structlog

from gateway.app.build import build_audit, build_line, build_policy, build_profile
from gateway.app.commitment import build_commitment_room, is_granted
from gateway.app.outbound import build_desk, build_gate, build_link, trusted_runner
from gateway.app.pages import start_console
from gateway.app.preflight import require_writable
from gateway.app.process import configure_logs, harden, only_one, stop_on_signals, write_state
from gateway.app.quiet import instances_of_first
from gateway.app.reporting import Reporter
from gateway.app.setup import require_verified_escrow
from gateway.app.workers import IntakeWorkers
from gateway.audit import AuditTrail
from gateway.config import GatewayConfig
from gateway.desk.desk import Desk
from gateway.durable import sync_directory
from gateway.errors import GatewayError
from gateway.intake.sockets import listen
from gateway.link.credentials import Credentials
from gateway.policy import load_policy
from gateway.release.gate import Gate

log = structlog.get_logger()

RESTART_SECONDS = 5.0
JOIN_SECONDS = 30.0
ENROLMENT_SECONDS = 1.0  # how soon a gateway that runs notices that it was enrolled


@dataclass(frozen=True, slots=True)
class Ports:
    plain: int | None
    tls: int | None


class Node:
    def __init__(self, config: GatewayConfig, config_path: Path) -> None:
        self._config = config
        self._config_path = config_path
        self._stop = threading.Event()
        self._confined_by = ""

    def run(self, started: Callable[[Mapping[str, object]], None]) -> None:
        """Start everything, stay until SIGTERM, stop in the order that loses nothing."""
        config = self._config
        harden(config.run_as)
        configure_logs()
        require_writable(config.data)
        for directory in (config.keys_dir, config.data, config.data.parent):
            sync_directory(directory)  # what `init` made outlives a power cut from here on
        require_verified_escrow(config)
        load_policy(config.policy_file)
        with ExitStack() as stack:
            stack.enter_context(only_one(config.run_dir / "lock"))
            # A gateway that was killed left its ports there: nobody shall be sent to them.
            self._forget_where()
            stop_on_signals(self._stop)
            audit = build_audit(config)
            stack.callback(audit.close)
            sockets = [listening for listening, _tls in listen(config.intake)]
            for listening in sockets:
                stack.callback(listening.close)
            workers = IntakeWorkers(
                self._config_path,
                config.intake.processes,
                self._named(sockets),
                partial(instances_of_first, config),
            )
            threads = self._start_rooms(audit)
            told = threading.Event()  # later than the stop: that, too, is reported
            reporter = self._start_reporter(audit, told)
            stack.callback(self._end, threads, told)  # where the rest does not start
            started(self._say_where(sockets))
            audit.record("gateway_started", site=config.site)
            workers.watch(self._stop)
            for thread in threads:
                thread.join(JOIN_SECONDS)
            audit.record("gateway_stopped", site=config.site)
            if reporter is not None:
                told.set()
                reporter.join(JOIN_SECONDS)
            self._forget_where()
            log.info("stopped")

    def _end(self, threads: list[threading.Thread], told: threading.Event) -> None:
        self._stop.set()
        told.set()
        for thread in threads:
            thread.join(JOIN_SECONDS)

    def _named(self, sockets: list[socket]) -> list[tuple[str, socket]]:
        names = ["--fd"] if self._config.intake.port is not None else []
        names += ["--tls-fd"] if self._config.intake.tls is not None else []
        return list(zip(names, sockets, strict=True))

    def _start_rooms(self, audit: AuditTrail) -> list[threading.Thread]:
        config = self._config
        line = build_line(config, audit)
        policy = build_policy(config)
        gate = build_gate(config, policy)
        runner = trusted_runner(config)
        self._confined_by = runner.isolation.words if runner else "nothing: jobs are refused"
        desk = build_desk(config, policy, gate, audit, runner)
        rooms: dict[str, Callable[[threading.Event], None]] = {
            "line": line.run,
            "desk": desk.run,
            "link": lambda stop: self._link(stop, gate, desk),
        }
        if is_granted(config):
            rooms["commitment"] = lambda stop: build_commitment_room(config, audit).run(stop)
        return [self._start(name, room) for name, room in rooms.items()]

    def _start_reporter(self, audit: AuditTrail, told: threading.Event) -> threading.Thread | None:
        config = self._config
        if (syslog := config.audit.syslog) is None:
            return None
        thread = threading.Thread(
            target=self._keep,
            args=("reporter", lambda stop: Reporter(config, syslog, audit).run(stop), told),
            name="reporter",
        )
        thread.start()
        return thread

    def _link(self, stop: threading.Event, gate: Gate, desk: Desk) -> None:
        """Wait until the gateway is enrolled, then keep the link."""
        while (credentials := Credentials.load(self._config.keys_dir)) is None:
            if stop.wait(ENROLMENT_SECONDS):
                return
        build_link(self._config, credentials, gate, desk).run(stop)

    def _start(self, name: str, room: Callable[[threading.Event], None]) -> threading.Thread:
        thread = threading.Thread(target=self._keep, args=(name, room, self._stop), name=name)
        thread.start()
        return thread

    def _keep(
        self, name: str, room: Callable[[threading.Event], None], stop: threading.Event
    ) -> None:
        """Run a room until the end; a failure is logged by its type and tried again."""
        while not stop.is_set():
            try:
                room(stop)
            except GatewayError as fault:
                log.error("room_failed", room=name, says=str(fault))  # noqa: TRY400 - no values in a log
            except Exception as fault:  # noqa: BLE001 - a room that fails must not take the others down
                # The type and the place: a message could hold a value of a patient's.
                log.error("room_failed", room=name, fault=type(fault).__name__, at=_place(fault))  # noqa: TRY400
            stop.wait(RESTART_SECONDS)

    def _say_where(self, sockets: list[socket]) -> Mapping[str, object]:
        bound = {option: listening.getsockname()[1] for option, listening in self._named(sockets)}
        link = start_console(self._config, self._stop)
        metrics = self._start_metrics()
        state = {
            "started": time.time(),
            "port": bound.get("--fd"),
            "tls_port": bound.get("--tls-fd"),
            "console": link.address if link else None,
            "console_link": str(link.file) if link and link.first_link else None,
            "metrics": metrics,
            "jobs_confined_by": self._confined_by,
            "profile": build_profile(self._config).digest,
        }
        write_state(self._config.run_dir / "node.json", state)
        log.info("started", site=self._config.site, **state)
        # A person; a log is read by others too.
        if link is not None and link.first_link is not None and sys.stderr.isatty():
            sys.stderr.write(f"The console's first account, once: {link.first_link}\n")
        return {"site": self._config.site, **state}

    def _start_metrics(self) -> str | None:
        if self._config.metrics is None:
            return None
        from gateway.app.metrics import start_metrics  # with its library, where it is asked for

        return start_metrics(self._config, self._stop)

    def _forget_where(self) -> None:
        (self._config.run_dir / "node.json").unlink(missing_ok=True)
        self._config.console_link_file.unlink(missing_ok=True)


def _place(fault: BaseException) -> str:
    trace = fault.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
