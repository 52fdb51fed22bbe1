"""What a vendor's `job.py` works with: the cohort's cases, their volumes, and where results go.

    def predict(cohort, weights, config): return {case.name: score for case in cohort.cases}
    def train(cohort, weights, config): return new_weights

`weights` maps a declared name to an array. Cases to predict on have no label.
"""

import csv
import json
import os
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
CODE, INPUT, OUTPUT = "/job/code", "/job/in", "/job/out"
_METRICS: dict[str, float] = {}
AXES = 3


class ContractBroken(Exception):
    """The job returned something other than what its kind promises."""


class Volume(NamedTuple):
    """A series in space: values as (z, y, x), millimetres between their centres."""

    values: Array
    spacing: tuple[float, float, float]


@dataclass(frozen=True)
class Case:
    """One series of one patient."""

    name: str
    patient: str
    label: int | None
    files: tuple[str, ...] = field(repr=False)

    def datasets(self) -> list[Any]:
        """Return the instances as pydicom datasets, in the order of their position."""
        import pydicom

        return sorted((pydicom.dcmread(path) for path in self.files), key=_position)

    def volume(self) -> Volume:
        """Return the pixel values in their modality's units (HU for CT), as float32."""
        instances = self.datasets()
        planes = [plane for dataset in instances for plane in _planes(dataset)]
        return Volume(np.stack(planes), _spacing(instances))


@dataclass(frozen=True)
class Cohort:
    """The cases of one split."""

    cases: tuple[Case, ...]

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    def __len__(self) -> int:
        return len(self.cases)


def report(name: str, value: float) -> None:
    """Report a number that the manifest declares under `metrics`."""
    _METRICS[str(name)] = float(value)


def run(config: dict[str, Any]) -> None:
    """Do one round: predict on the held-out cases, then train (a training job only)."""
    with open(f"{CODE}/job.toml", "rb") as file:
        kind = tomllib.load(file)["kind"]
    with open(f"{INPUT}/cohort/cohort.json", encoding="utf-8") as file:
        cases = json.load(file)
    weights = _weights()
    import job  # type: ignore[import-not-found] # the vendor's

    if hasattr(job, "predict") or kind == "evaluation":
        _write_predictions(job.predict(_cohort(cases["validation"]), weights, config))
    if kind == "training":
        _write_weights(job.train(_cohort(cases["training"]), weights, config))
        with open(f"{OUTPUT}/metrics.json", "w", encoding="utf-8") as file:
            json.dump(_METRICS, file)


def _cohort(entries: list[dict[str, Any]]) -> Cohort:
    folder = f"{INPUT}/cohort"
    return Cohort(
        tuple(
            Case(
                entry["case"],
                entry["patient"],
                entry.get("label"),
                tuple(f"{folder}/{name}" for name in entry["files"]),
            )
            for entry in entries
        )
    )


def _weights() -> dict[str, Array]:
    path = f"{INPUT}/weights.safetensors"
    if not os.path.exists(path):
        return {}
    from safetensors.numpy import load_file

    weights: dict[str, Array] = load_file(path)
    return weights


def _write_predictions(scores: object) -> None:
    if not isinstance(scores, dict):
        raise ContractBroken("predict returns {case name: score}")
    with open(f"{OUTPUT}/predictions.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("case", "score"))
        rows.writerows((name, repr(float(score))) for name, score in scores.items())


def _write_weights(weights: object) -> None:
    if not isinstance(weights, dict):
        raise ContractBroken("train returns {tensor name: array}")
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(values) for name, values in weights.items()}
    save_file(arrays, f"{OUTPUT}/weights.safetensors")


def _position(dataset: Any) -> tuple[float, int]:
    """Order slices along their normal (PS3.3 C.7.6.2.1.1), else by instance number."""
    orientation = dataset.get("ImageOrientationPatient")
    position = dataset.get("ImagePositionPatient")
    number = int(dataset.get("InstanceNumber") or 0)
    if (
        orientation is None
        or position is None
        or len(orientation) != 2 * AXES
        or len(position) != AXES
    ):
        return (0.0, number)
    row, column = np.array(orientation[:AXES], float), np.array(orientation[AXES:], float)
    return (float(np.dot(np.cross(row, column), np.array(position, float))), number)


def _planes(dataset: Any) -> list[Array]:
    slope = float(dataset.get("RescaleSlope", 1) or 1)
    intercept = float(dataset.get("RescaleIntercept", 0) or 0)
    pixels = dataset.pixel_array
    frames = pixels if int(dataset.get("NumberOfFrames") or 1) > 1 else [pixels]
    return [
        frame.astype(np.float32) * np.float32(slope) + np.float32(intercept) for frame in frames
    ]


def _spacing(instances: list[Any]) -> tuple[float, float, float]:
    first = instances[0]
    rows, columns = (float(value) for value in first.get("PixelSpacing", (1.0, 1.0)))
    positions = [_position(dataset)[0] for dataset in instances]
    gaps = np.diff(positions)
    between = float(np.median(gaps)) if len(gaps) and np.any(gaps > 0) else 0.0
    return (between or float(first.get("SliceThickness") or 1.0), rows, columns)


sys.modules.setdefault("radfed_job", sys.modules[__name__])
