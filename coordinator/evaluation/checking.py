"""Whether a report is what was signed, and says what its evidence says."""

import json
import math
from base64 import b64decode
from collections.abc import Mapping
from typing import Annotated, Literal

from google.protobuf.message import DecodeError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from coordinator.errors import IntegrityFault
from coordinator.evaluation.document import Report
from coordinator.evaluation.report import build
from coordinator.evaluation.summed import check_sum
from protos.reports import is_signed, report_statement, statistics_statement

SAME = 1e-9  # another machine's arithmetic may differ in the last digits
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Signature(BaseModel):
    """The file beside the report."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["radfed report signature 1"] = "radfed report signature 1"
    signer: Literal["coordinator"] = "coordinator"
    public_key: Key
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]


def check(raw: bytes, signature: bytes, pinned: Mapping[str, str]) -> Report:
    """Return a report that holds; IntegrityFault names what does not.

    `pinned` are keys that the reader knows by another way, by name: a hospital's, or
    `coordinator`. A signature by any other key is not theirs.
    """
    try:
        said = Signature.model_validate_json(signature)
    except ValidationError as fault:
        raise IntegrityFault("the signature is damaged: fetch the report once more") from fault
    signed_by, by = bytes.fromhex(said.public_key), bytes.fromhex(said.signature)
    if not is_signed(signed_by, by, report_statement(raw)):
        raise IntegrityFault("the report was altered after it was signed: believe nothing in it")
    _check_key("coordinator", said.public_key, pinned)
    report = _read(raw)
    try:
        _check_evidence(report, pinned)
    except (ValueError, DecodeError, LookupError, ArithmeticError) as fault:
        raise IntegrityFault("the hospitals' statistics in this report are damaged") from fault
    return report


def _check_evidence(report: Report, pinned: Mapping[str, str]) -> None:
    for part in report.evidence.sites:
        if not part.statistics:
            continue
        key, sealed = bytes.fromhex(part.public_key), bytes.fromhex(part.signature)
        statement = statistics_statement(part.task, b64decode(part.statistics))
        if not is_signed(key, sealed, statement):
            raise IntegrityFault(f"{part.site} did not sign the statistics in this report")
        _check_key(part.site, part.public_key, pinned)
    check_sum(report.evidence)
    made_again = build(report.evidence)
    if not _alike(json.loads(made_again.model_dump_json()), json.loads(report.model_dump_json())):
        raise IntegrityFault("the figures are not those of the hospitals' signed statistics")


def _read(raw: bytes) -> Report:
    try:
        return Report.model_validate_json(raw)
    except ValidationError as fault:
        raise IntegrityFault("the report is not of a form that is known here") from fault


def _check_key(name: str, key: str, pinned: Mapping[str, str]) -> None:
    if name in pinned and pinned[name] != key:
        raise IntegrityFault(f"the key of {name} is not the one you named")


def _alike(one: object, other: object) -> bool:
    """Compare two documents, numbers to within rounding."""
    if isinstance(one, float | int) and isinstance(other, float | int):
        return one == other or math.isclose(one, other, rel_tol=SAME, abs_tol=SAME)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    return one == other
