"""The vault lane: an instance's bytes as they came, encrypted before they touch the disk."""

from gateway.line.terms import Means, Receipt, Verdict, VerdictKind
from gateway.model import Arrival
from gateway.vault.entry import Kept, Reason


class VaultLane:
    """Seals everything it is given; quarantined if `for_operator`, else for the line's worker."""

    def __init__(
        self, means: Means, arrival: Arrival, reason: Reason, *, for_operator: bool
    ) -> None:
        self._means = means
        self._arrival = arrival
        self._reason = reason
        self._for_operator = for_operator
        self._writer = means.vault.writer()

    def take(self, *views: bytes | bytearray | memoryview) -> "VaultLane":
        for view in views:
            self._writer.write(view)
        return self

    def finish(self, receipt: Receipt) -> Verdict:
        kept = Kept(
            arrival=self._arrival,
            received_at=self._means.now(),
            received=receipt.digest.hex(),
            size_bytes=receipt.size,
            reason=self._reason,
        )
        entry = self._writer.commit(kept, quarantined=self._for_operator)
        if not self._for_operator:
            return Verdict(VerdictKind.STORED, f"in the vault: {self._reason.reason}")
        self._means.audit.record(
            "instance_quarantined",
            entry=entry,
            reason=self._reason.reason,
            place=self._reason.place,
            sender=self._arrival.calling_ae,
        )
        return Verdict(VerdictKind.QUARANTINED, self._reason.reason)

    def abort(self) -> None:
        self._writer.abort()


class RejectedLane:
    """The dataset is not what its command said: nothing of it is kept."""

    def __init__(self, reason: str) -> None:
        self._verdict = Verdict(VerdictKind.REJECTED, reason)

    def take(self, *_views: memoryview) -> "RejectedLane":
        return self

    def finish(self, _receipt: Receipt) -> Verdict:
        return self._verdict

    def abort(self) -> None:
        """Nothing was kept."""
