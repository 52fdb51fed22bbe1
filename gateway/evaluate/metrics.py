"""The numbers a job reports of its training: only those declared, within bounds, rounded."""

import json
import math
from collections.abc import Sequence
from enum import StrEnum

from protos.job_manifest import MetricSpec
from protos.tensors import Buffer

FEWEST_PATIENTS = 10
METRICS_LIMIT_BYTES = 64 << 10


class MetricsCode(StrEnum):
    """Why no metric is released: a closed set the vendor may see."""

    MALFORMED = "metrics_malformed"
    UNDECLARED = "metric_undeclared"
    OUT_OF_BOUNDS = "metric_out_of_bounds"
    TOO_FEW_PATIENTS = "too_few_patients"


def read_metrics(
    raw: Buffer, declared: Sequence[MetricSpec], patients: int
) -> list[tuple[str, float]] | MetricsCode:
    """Return declared metrics in the manifest's order, rounded to its decimals."""
    if patients < FEWEST_PATIENTS:
        return MetricsCode.TOO_FEW_PATIENTS
    found = _parse(raw)
    if found is None:
        return MetricsCode.MALFORMED
    if not set(found) <= {spec.name for spec in declared}:
        return MetricsCode.UNDECLARED
    reported = [spec for spec in declared if spec.name in found]
    # A comparison, so that NaN is refused too.
    if not all(spec.minimum <= found[spec.name] <= spec.maximum for spec in reported):
        return MetricsCode.OUT_OF_BOUNDS
    return [(spec.name, round(found[spec.name], spec.decimals)) for spec in reported]


def _parse(raw: Buffer) -> dict[str, float] | None:
    """Return an object of numbers, or None."""
    if len(raw) > METRICS_LIMIT_BYTES:
        return None
    try:
        found = json.loads(bytes(raw))
        return {name: _number(value) for name, value in found.items()}
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a metric is a number")
    return float(value)


def metric_bits(declared: Sequence[MetricSpec]) -> float:
    """Return the most a vendor can have written into all declared metrics at once."""
    return sum(
        math.log2((spec.maximum - spec.minimum) * 10**spec.decimals + 2) for spec in declared
    )
