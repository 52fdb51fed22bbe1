"""What is committed, what a peer's answer means, and when to try again: decided here."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.intake.commitment import FailureReason
from gateway.intake.dimse import Status

SETTLING_SECONDS: Final = 300.0  # how long the vault's second look may take before we say no
RETRY_SECONDS: Final = (5.0, 3600.0)  # the first pause, and the longest
GIVE_UP_SECONDS: Final = 30 * 86400.0
KEEP_SECONDS: Final = 30 * 86400.0  # a transaction UID stays in use after its report


class Copy(StrEnum):
    """What reading the stored copy again has shown."""

    SOUND = "sound"  # every byte is the one that was written
    ABSENT = "absent"
    DOUBTFUL = "doubtful"  # damaged, or from before its bytes were fingerprinted


@dataclass(frozen=True, slots=True)
class Finding:
    """What is known of one referenced instance."""

    copy: Copy
    sop_class: str  # of the stored copy
    unsettled: bool  # its second look is still to come
    quarantined: bool  # (a version of) it is sealed, and an operator may drop it


def judge(finding: Finding, sop_class: str, *, class_taken: bool) -> FailureReason | None:
    """Return why an instance is not committed; None: it is (PS3.3 C.14.1.1).

    A sealed instance is not committed, whatever its C-STORE was told: an operator decides over it,
    or its time runs out. That holds where another version of it is stored, too: which of the two
    the sender means cannot be known.
    """
    if finding.quarantined or finding.unsettled:
        return FailureReason.PROCESSING_FAILURE
    if finding.copy is Copy.ABSENT:
        known = FailureReason.NO_SUCH_OBJECT_INSTANCE
        return known if class_taken else FailureReason.SOP_CLASS_NOT_SUPPORTED
    if finding.sop_class != sop_class:
        return FailureReason.CLASS_INSTANCE_CONFLICT
    return None if finding.copy is Copy.SOUND else FailureReason.PROCESSING_FAILURE


class Answer(StrEnum):
    """What the peer's status for a report means."""

    DELIVERED = "delivered"
    REFUSED = "refused"  # it has the report and wants none of it: saying it again helps nobody
    AGAIN = "again"


# PS3.7 10.1.1.1.8. Processing failure and resource limitation may pass.
_PASSING: Final = frozenset({Status.PROCESSING_FAILURE, Status.RESOURCE_LIMITATION})
_WARNINGS: Final = frozenset({0x0001, 0x0107, 0x0116})


def meaning(status: int) -> Answer:
    if status == Status.SUCCESS or status in _WARNINGS:
        return Answer.DELIVERED
    return Answer.AGAIN if status in _PASSING else Answer.REFUSED


def pause(attempts: int) -> float:
    """Return how long to wait after that many attempts: doubling, an hour at most."""
    first, longest = RETRY_SECONDS
    return min(longest, first * 2.0 ** min(attempts - 1, 20))
