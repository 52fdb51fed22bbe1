"""The bytes that are signed: one form for each statement, the same in both houses."""

import json
from collections.abc import Mapping, Sequence

Value = str | bool | int | Sequence["Value"] | Mapping[str, "Value"]


def canonical_bytes(statement: str, fields: Mapping[str, Value]) -> bytes:
    """Return the canonical form of a statement: its name, then JSON with sorted keys, UTF-8.

    Floats are refused, because two machines may spell one differently; byte strings go in as hex.
    """
    _refuse_floats(fields)
    body = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"radfed {statement} v1\n{body}".encode()


def bundle_statement(digest: bytes) -> bytes:
    """Return what a vendor signs about a bundle: its SHA-256."""
    return canonical_bytes("bundle", {"sha256": digest.hex()})


def _refuse_floats(value: Value) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"canonical keys are strings, not {type(key).__name__}")
            _refuse_floats(inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            _refuse_floats(inner)
    elif not isinstance(value, str | bool | int):
        raise TypeError(f"{type(value).__name__} has no canonical form")
