"""The one table from error to gRPC status; what is not in it says nothing to the caller."""

import errno

import grpc
import structlog
from sqlalchemy.exc import SQLAlchemyError

from coordinator.errors import (
    CoordinatorError,
    EnvironmentFault,
    IntegrityFault,
    InvalidRequest,
    NotFound,
    Refused,
    TooFast,
    TooLarge,
    Unauthenticated,
    WrongMoment,
)

# The first class that fits decides: the more particular stand first.
STATUS: tuple[tuple[type[CoordinatorError], grpc.StatusCode], ...] = (
    (Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (Refused, grpc.StatusCode.PERMISSION_DENIED),
    (InvalidRequest, grpc.StatusCode.INVALID_ARGUMENT),
    (NotFound, grpc.StatusCode.NOT_FOUND),
    (WrongMoment, grpc.StatusCode.FAILED_PRECONDITION),
    (TooLarge, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (TooFast, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (IntegrityFault, grpc.StatusCode.DATA_LOSS),
    (EnvironmentFault, grpc.StatusCode.UNAVAILABLE),
)
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

log = structlog.get_logger()


def refusal(fault: Exception, method: str) -> tuple[grpc.StatusCode, str]:
    """Return what the caller is told."""
    for kind, status in STATUS:
        if isinstance(fault, kind):
            return status, str(fault)
    if isinstance(fault, OSError) and fault.errno in DISK_FULL:
        return grpc.StatusCode.UNAVAILABLE, "the coordinator's disk is full: try again later"
    # An error nobody foresaw may quote anything: the log names its kind and place, never its text.
    log.error("call_failed", method=method, kind=type(fault).__name__, place=_place(fault))
    if isinstance(fault, SQLAlchemyError):
        return grpc.StatusCode.UNAVAILABLE, "the coordinator's tables cannot be used just now"
    return grpc.StatusCode.INTERNAL, "the coordinator failed: its log names the place"


def _place(fault: Exception) -> str:
    trace = fault.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
