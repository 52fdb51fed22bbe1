"""What a job of the hospitals' own code found, in the units of its features."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.errors import ConfigurationFault
from protos.job_manifest import SHIPPED, Form, JobManifest
from protos.tensors import MalformedTensors, SchemaMismatch, decode

Numbers = Mapping[str, NDArray[np.float64]]
Row = dict[str, Any]
INTERCEPT = "(intercept)"


def table_of(manifest: JobManifest, model: Path) -> list[Row]:
    """Return the rows of a result; ConfigurationFault where the file is not this job's."""
    if manifest.form not in SHIPPED:
        raise ConfigurationFault(f"a job of form {manifest.form} has tensors of its vendor's own")
    try:
        found = decode(model.read_bytes(), manifest.weights)
    except OSError as fault:
        raise ConfigurationFault(f"{model} cannot be read: {fault.strerror}") from fault
    except (MalformedTensors, SchemaMismatch) as fault:
        raise ConfigurationFault(f"{model} is not this job's result: {fault}") from fault
    numbers = {name: found[name].astype(float) for name in manifest.weights}
    return list(ROWS[manifest.form](manifest, numbers))


def _moments(manifest: JobManifest, found: Numbers) -> Iterator[Row]:
    present = np.maximum(found["present"], 1e-9)  # noise may leave it below nothing
    first, second = found["first"] / present, found["second"] / present
    for number, (feature, low, high) in enumerate(_features(manifest)):
        half = (high - low) / 2
        variance = half**2 * max(0.0, second[number] - first[number] ** 2)
        yield {
            "feature": feature,
            "mean": low + half * (first[number] + 1),
            "variance": variance,
            "deviation": variance**0.5,
            "cases_with_it": found["present"][number],
        }


def _histogram(manifest: JobManifest, found: Numbers) -> Iterator[Row]:
    bins = found["shares"].shape[1] - 1
    for number, (feature, low, high) in enumerate(_features(manifest)):
        edges = np.linspace(low, high, bins + 1)
        for place, share in enumerate(found["shares"][number]):
            none = place == bins
            yield {
                "feature": feature,
                "from": None if none else edges[place],
                "to": None if none else edges[place + 1],
                "share": share,
            }


def _regression(manifest: JobManifest, found: Numbers) -> Iterator[Row]:
    """Undo the scaling: a coefficient is for one unit of its feature."""
    scaled = found["coefficients"]
    if manifest.form is Form.LOGISTIC:
        scaled = np.concatenate([found["intercept"], scaled])
    at = scaled[0]
    rows = []
    for slope, (feature, low, high) in zip(scaled[1:], _features(manifest), strict=True):
        at -= slope * (high + low) / (high - low)
        rows.append({"feature": feature, "coefficient": 2 * slope / (high - low)})
    yield {"feature": INTERCEPT, "coefficient": at}
    yield from rows


def _features(manifest: JobManifest) -> Iterator[tuple[str, float, float]]:
    settings: Any = manifest.config
    for name, low, high in zip(
        settings["features"], settings["minimum"], settings["maximum"], strict=True
    ):
        yield name, float(low), float(high)


ROWS = {
    Form.MOMENTS: _moments,
    Form.HISTOGRAM: _histogram,
    Form.GLM: _regression,
    Form.LOGISTIC: _regression,
}
