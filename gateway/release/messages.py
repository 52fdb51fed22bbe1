"""What a ledger entry's bytes say, for the eyes of whoever asks what left."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError, Message

from gateway.release.rules import Kind
from protos.v1 import enrolment_pb2, link_pb2

MESSAGES: Mapping[str, type[Message]] = {
    Kind.HELLO: link_pb2.ConnectRequest,
    Kind.HEARTBEAT: link_pb2.ConnectRequest,
    Kind.CHECKPOINT: link_pb2.ConnectRequest,
    Kind.ANSWER: link_pb2.ConnectRequest,
    Kind.DECISION: link_pb2.ConnectRequest,
    Kind.OUTCOME: link_pb2.ConnectRequest,
    Kind.ENROLMENT: enrolment_pb2.EnrolRequest,
    Kind.RENEWAL: enrolment_pb2.RenewRequest,
    Kind.PREFLIGHT: enrolment_pb2.PreflightRequest,
    Kind.FETCH: link_pb2.FetchRequest,
    Kind.HELD: link_pb2.HeldRequest,
    Kind.CHUNK: link_pb2.PushRequest,
    Kind.SUM: link_pb2.ConnectRequest,
}


def describe(kind: str, payload: bytes) -> dict[str, Any] | str:
    """Return the message as a mapping, a log as text, and what is none of ours as hex."""
    if kind in {Kind.LOG, Kind.SUMMAND}:
        return payload.decode("ascii", "replace")
    try:
        return MessageToDict(MESSAGES[kind].FromString(payload), preserving_proto_field_name=True)
    except (KeyError, DecodeError):
        return payload.hex()
