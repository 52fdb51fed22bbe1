"""What comes out of a sandbox: one frame, read without believing it."""

import json
import struct
from collections.abc import Collection
from dataclasses import dataclass

from gateway.sandbox.rules import PROTOCOL_BYTES, FailureCode
from protos.tensors import Buffer

LENGTH = struct.Struct("<I")
COPIED_BYTES = 1 << 20
SUBJECTS_AT_MOST = 32


@dataclass(frozen=True, slots=True)
class Frame:
    """The harness's verdict and the output files, by declared name; a large one as a view."""

    failure: FailureCode | None
    outputs: dict[str, Buffer]
    subject: int | None = None  # which of the manifest's imports is missing


def parse(raw: Buffer, allowed: Collection[str]) -> Frame | None:
    """Read a whole frame; None when it is not exactly one (the harness was killed, or forged)."""
    if len(raw) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack_from(raw)
    start = LENGTH.size + length
    if length > PROTOCOL_BYTES - LENGTH.size or start > len(raw):
        return None
    try:
        head = json.loads(bytes(raw[LENGTH.size : start]))
        code, sizes = str(head["code"]), [(str(name), int(size)) for name, size in head["outputs"]]
        failure = None if code == "ok" else FailureCode(code)
        subject = head.get("subject")
        if subject is not None and not 0 <= int(subject) < SUBJECTS_AT_MOST:
            return None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    outputs: dict[str, Buffer] = {}
    for name, size in sizes:
        if size < 0 or name not in allowed or name in outputs:
            return None
        content = raw[start : start + size]
        outputs[name] = bytes(content) if size <= COPIED_BYTES else content
        start += size
    return Frame(failure, outputs, subject) if start == len(raw) else None
