"""Storage commitment (PS3.4 annex J): its nouns, its datasets, and what the door asks of it.

A site that opts in for a peer grants a *copy receipt*: what we answer for is the de-identified form
of the instance, whose stored bytes were read again and found to be what was written.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, NamedTuple, Protocol

from pydicom.dataset import Dataset

from gateway.deid.walk import Encoding, check
from gateway.intake.dimse import Status, is_uid
from gateway.line.encoding import encode, parse
from gateway.model import RealUID

REQUEST_AT_MOST: Final = 2 << 20  # bytes; about 19,000 references
CLASS_TAG: Final = 0x00081150
INSTANCE_TAG: Final = 0x00081155
IMPLICIT: Final = "1.2.840.10008.1.2"


class FailureReason(IntEnum):
    """Why one instance is not committed (PS3.3 C.14.1.1)."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    DUPLICATE_TRANSACTION_UID = 0x0131


class EventType(IntEnum):
    """What an N-EVENT-REPORT says (PS3.4 J.3.3)."""

    SUCCESSFUL = 1
    FAILURES_EXIST = 2


class Reference(NamedTuple):
    sop_class: str
    instance: RealUID


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """One transaction, as its N-ACTION named it (PS3.4 table J.3-1)."""

    transaction: str
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What is told of a transaction; `number` is its place in our book."""

    number: int
    peer: str
    request: CommitmentRequest
    failures: Mapping[int, FailureReason] = field(default_factory=dict)  # by place in the request
    attempts: int = 0

    @property
    def event_type(self) -> EventType:
        return EventType.FAILURES_EXIST if self.failures else EventType.SUCCESSFUL


class Commitments(Protocol):
    """What the door asks of whoever keeps the requests; `holder` is one association."""

    def take(self, peer: str, request: CommitmentRequest, holder: str) -> None:
        """Keep a request, durably; NoPlace or OSError when that is not possible."""

    def claim(self, holder: str) -> Report | None:
        """Take over the delivery of a report that the holder's request has led to."""

    def answered(self, number: int, status: int) -> object:
        """Settle a report by the status the peer answered it with."""

    def let_go(self, holder: str) -> None:
        """Leave the holder's reports to be delivered on an association of their own."""


class NoPlace(Exception):
    """A peer has too many requests open: this one is refused."""


class BadRequest(ValueError):
    """The action information is not what PS3.4 table J.3-1 demands; the status says so."""

    status: Final = Status.INVALID_ARGUMENT_VALUE


def read_request(raw: bytes | bytearray, transfer_syntax: str) -> CommitmentRequest:
    """Read the action information of an N-ACTION; BadRequest names the field, never its value."""
    encoding = _encoding(transfer_syntax)
    if check(raw, encoding) is not None:
        raise BadRequest("action information cannot be read")
    try:
        dataset = parse(raw, encoding)
        transaction = str(dataset.get("TransactionUID", ""))
        references = tuple(map(_reference, dataset.get("ReferencedSOPSequence") or ()))
    except BadRequest:
        raise
    except Exception as fault:  # pydicom's, for values no rule foresees; none is quoted
        raise BadRequest("action information cannot be read") from fault
    if not is_uid(transaction.encode("ascii", "replace")):
        raise BadRequest("Transaction UID is missing or malformed")
    if not references:
        raise BadRequest("Referenced SOP Sequence is empty")
    return CommitmentRequest(transaction, references)


def _reference(item: Dataset) -> Reference:
    sop_class, instance = _uid(item, CLASS_TAG), _uid(item, INSTANCE_TAG)
    if not (is_uid(sop_class) and is_uid(instance)):
        raise BadRequest("a referenced UID is missing or malformed")
    return Reference(sop_class.decode("ascii"), RealUID(instance.decode("ascii")))


def _uid(item: Dataset, tag: int) -> bytes:
    """Return a UID as it was sent: pydicom's own conversion costs ten times the rest."""
    if tag not in item:
        return b""
    value: Any = item.get_item(tag).value
    return value.rstrip(b"\0 ") if isinstance(value, bytes) else b""


def event_information(report: Report) -> Dataset:
    """Return the dataset of an N-EVENT-REPORT (PS3.4 table J.3-2).

    No Retrieve AE Title: what is kept here cannot be retrieved.
    """
    dataset = Dataset()
    dataset.TransactionUID = report.request.transaction
    committed, failed = [], []
    for place, reference in enumerate(report.request.references):
        item = Dataset()
        item.ReferencedSOPClassUID = reference.sop_class
        item.ReferencedSOPInstanceUID = reference.instance
        if place in report.failures:
            item.FailureReason = int(report.failures[place])
            failed.append(item)
        else:
            committed.append(item)
    if committed:
        dataset.ReferencedSOPSequence = committed
    if failed:
        dataset.FailedSOPSequence = failed
    return dataset


def write_report(report: Report, transfer_syntax: str) -> bytes:
    return encode(event_information(report), _encoding(transfer_syntax))


def _encoding(transfer_syntax: str) -> Encoding:
    return Encoding(implicit=transfer_syntax == IMPLICIT, big_endian=False)
