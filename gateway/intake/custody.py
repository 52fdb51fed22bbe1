"""What the DICOM door asks of custody."""

from typing import Protocol

from gateway.model import Arrival


class Verdict(Protocol):
    """What became of an instance; every kind but "rejected" means that we answer for it now."""

    @property
    def kind(self) -> str:
        """Return one of "stored", "duplicate", "quarantined", "rejected"."""

    @property
    def reason(self) -> str:
        """Return a sentence that names no patient."""


class Incoming(Protocol):
    """One instance on its way in."""

    def write(self, *chunks: bytes | memoryview) -> None:
        """Take the next bytes of the dataset; the caller uses their buffers again afterwards."""

    def commit(self) -> Verdict:
        """Judge and keep the instance; what is kept is durable on return."""

    def abort(self) -> None:
        """Leave nothing; a second time, and after `commit`, it does nothing."""


class Custody(Protocol):
    def begin(self, arrival: Arrival, /) -> Incoming:
        """Begin an instance, or raise ReserveReached before anything is written."""
