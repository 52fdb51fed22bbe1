"""Entries that wait in the vault for their long header alone: the express lane once more.

A receiver has little memory for headers, the line has much. Read in pieces, an instance of any
length passes; the reference engine would need all of it at once, and its header many times over.
"""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from gateway.line.budget import HeaderMemory
from gateway.line.express import CUT, HELD_DAMAGED, NO_END, OTHER_PIXELS, RESEND
from gateway.line.header import MISMATCH, NO_MEMORY, TOO_LONG, HeaderLane, first_lane
from gateway.line.terms import Audit, Lane, Means, NoRoom, Receipt, Verdict, VerdictKind
from gateway.line.vaulting import VaultLane
from gateway.vault.entry import Kept, Reason

HEADER_BYTES: Final = 64 << 20  # of some hundred thousand frames
MEMORY_BYTES: Final = 512 << 20
LATE: Final = {reason.reason: reason for reason in (CUT, HELD_DAMAGED, NO_END, OTHER_PIXELS)}
STORED: Final = frozenset({VerdictKind.STORED, VerdictKind.DUPLICATE})


class LongHeaders:
    """The express lane with the line's memory; one instance at a time."""

    def __init__(self, means: Means) -> None:
        self._means = replace(
            means,
            header_limit_bytes=HEADER_BYTES,
            header_memory=HeaderMemory(MEMORY_BYTES),
            audit=_ButQuarantine(means.audit),
        )

    def wait_for_nothing_else(self, kept: Kept) -> bool:
        """Say whether only the receiver's memory kept an entry out of the express lane."""
        return kept.form == "dataset" and kept.reason in {TOO_LONG, NO_MEMORY}

    def settle(
        self, kept: Kept, chunks: Iterator[bytes], survived: Callable[[], None]
    ) -> Verdict | None:
        """Store it; None where it has to be looked at whole.

        `survived` is called once no more memory will be asked for.
        """
        claim = self._means.header_memory.claim()
        lane: Lane = first_lane(self._means, kept.arrival, claim)
        receipt = Receipt(bytes.fromhex(kept.received), kept.size_bytes)
        try:
            for chunk in chunks:
                lane = lane.take(memoryview(chunk))
                if isinstance(lane, VaultLane):
                    return None
            if isinstance(lane, HeaderLane):
                lane = lane.ended(receipt)
            if isinstance(lane, VaultLane):
                return None
            survived()
            return lane.finish(receipt)
        except NoRoom as fault:  # the disk's fault, not the instance's
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from fault
        finally:
            lane.abort()
            claim.release()


def reason_of(verdict: Verdict) -> Reason | None:
    """Say why an instance was not stored after all; None where it was."""
    if verdict.kind in STORED:
        return None
    if verdict.kind is VerdictKind.REJECTED:
        return Reason(MISMATCH, "(0008,0016) (0008,0018)", RESEND)
    return LATE.get(verdict.reason) or Reason(verdict.reason, "", RESEND)


class _ButQuarantine:
    """The trail, less what the line itself records of an entry."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    def record(self, event: str, **facts: str | float | bool | None) -> None:
        if event != "instance_quarantined":
            self._audit.record(event, **facts)
