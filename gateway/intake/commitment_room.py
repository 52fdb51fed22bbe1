"""The commitment room: examines what was asked, delivers what the asker's own association did not.

    asked -> every referenced copy read again -> examined
    examined -> N-EVENT-REPORT, again and again -> delivered | refused | abandoned

Every step is repeatable: what was not written into the book is done again after a crash.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

import structlog

from gateway.config import Intake, Peer
from gateway.errors import GatewayError
from gateway.intake.commitment import FailureReason, Report
from gateway.intake.commitment_book import Book
from gateway.intake.commitment_proof import Proof
from gateway.intake.commitment_rules import SETTLING_SECONDS, Answer, judge
from gateway.intake.rules import Admission

log = structlog.get_logger()

WAIT_SECONDS: Final = 0.25
TIDY_SECONDS: Final = 3600.0
AT_ONCE: Final = 4  # peers that are told at the same time
REPORTS_AT_ONCE: Final = 20  # of one peer, over one association

Deliver = Callable[[Intake, Peer, Sequence[Report]], Iterator[tuple[Report, int | None]]]


class Audit(Protocol):
    def record(self, event: str, **facts: str | float | bool | None) -> None: ...


class CommitmentRoom:
    """One of a gateway, in its main process."""

    def __init__(
        self, config: Intake, book: Book, proof: Proof, deliver: Deliver, audit: Audit
    ) -> None:
        self._config = config
        self._peers = {peer.name: peer for peer in config.peers if peer.commitment}
        self._admission = Admission(config)
        self._book = book
        self._proof = proof
        self._deliver = deliver
        self._audit = audit
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop`; a delivery that runs may finish."""
        self._book.begin_again()
        tidied = float("-inf")
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="commitment") as telling:
            while not stop.is_set():
                self.examine(stop)
                for peer in self._book.due_peers():
                    self._begin_telling(telling, peer)
                if time.monotonic() - tidied > TIDY_SECONDS:
                    self.tidy()
                    tidied = time.monotonic()
                stop.wait(WAIT_SECONDS)

    def examine(self, stop: threading.Event) -> None:
        """Judge every request that can be judged; one the vault is at work on may wait."""
        looked = False
        for report, age in self._book.asked():
            if not looked:
                self._proof.look_into_vault()
                looked = True
            failures = self._failures(report, age, stop)
            if failures is not None:
                self._book.examined(report, failures)
                count = len(report.request.references)
                facts = {"references": count, "failed": len(failures)}
                log.info("commitment_examined", peer=report.peer, **facts)
                self._audit.record("commitment_examined", peer=report.peer, **facts)

    def tell(self, name: str) -> None:
        """Deliver what is due to one peer, or put it off."""
        peer = self._peers.get(name)
        reports = self._book.hold_due(name, REPORTS_AT_ONCE)
        waiting = {report.number: report for report in reports}
        try:
            if peer is None:
                log.warning("commitment_peer_unknown", peer=name)
            elif reports:
                for report, status in self._deliver(self._config, peer, reports):
                    if status is None:
                        break
                    del waiting[report.number]
                    self._settle(report, status)
                    for number in waiting:
                        self._book.hold_on(number)
        except GatewayError as fault:
            log.warning("commitment_undelivered", peer=name, says=str(fault))
        finally:
            for number in waiting:
                self._book.put_off(number)

    def tidy(self) -> None:
        for peer in self._book.tidy():
            log.warning("commitment_abandoned", peer=peer)
            self._audit.record("commitment_abandoned", peer=peer)

    def _begin_telling(self, telling: ThreadPoolExecutor, peer: str) -> None:
        with self._lock:
            if peer in self._busy:
                return
            self._busy.add(peer)
        telling.submit(self._tell, peer)

    def _tell(self, peer: str) -> None:
        try:
            self.tell(peer)
        except Exception as fault:  # noqa: BLE001 - the type alone: a message could hold a UID
            log.error("commitment_undelivered", peer=peer, fault=type(fault).__name__)  # noqa: TRY400
        finally:
            with self._lock:
                self._busy.discard(peer)

    def _settle(self, report: Report, status: int) -> None:
        answer = self._book.answered(report.number, status)
        facts = {"peer": report.peer, "status": f"{status:04X}", "outcome": str(answer)}
        log.info("commitment_reported", **facts)
        if answer is not Answer.AGAIN:
            self._audit.record("commitment_reported", **facts)

    def _failures(
        self, report: Report, age: float, stop: threading.Event
    ) -> Mapping[int, FailureReason] | None:
        """Return what is not committed; None where it is too early to say."""
        failures = {}
        for place, reference in enumerate(report.request.references):
            if stop.is_set():
                return None
            finding = self._proof.examine(reference)
            if finding.unsettled and 0 <= age < SETTLING_SECONDS:
                return None
            taken = self._admission.takes_class(reference.sop_class.encode())
            reason = judge(finding, reference.sop_class, class_taken=taken)
            if reason is not None:
                failures[place] = reason
        return failures
