"""What a vendor's `job.py` works with: the cohort's cases, their volumes, and where results go.

    def predict(cohort, weights, config): return {case.name: score for case in cohort.cases}
        # a test of boxes: {case.name: [radfed_job.Box, ...]}, an empty list where nothing is
        # a test of masks: {case.name: mask}, (z, y, x) as the volume; or the path of a NIfTI file
        # (.nii, .nii.gz) or of a DICOM segmentation that `predict` wrote
    def train(cohort, weights, config): return new_weights
    def analyse(cohort, config): return {output name: array}

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
UNDECIDED = 0.5


class ContractBroken(Exception):
    """The job returned something other than what its kind promises."""


class TooManyBadCases(Exception):
    """More cases could not be read than the manifest allows."""


class Box(NamedTuple):
    """A finding: how sure it is, in [0, 1], and its corners in millimetres (see `Volume.box`)."""

    score: float
    low: tuple[float, float, float]  # (x, y, z)
    high: tuple[float, float, float]


class Volume(NamedTuple):
    """A series in space: values as (z, y, x), millimetres between their centres.

    `affine` takes (z, y, x, 1) to millimetres in the patient's coordinates (PS3.3 C.7.6.2.1.1: x
    to the left, y to the back, z to the head); `orientation` names the way each axis runs, like
    `HPL`: to the head, to the back (posterior), to the left. Both are None where nothing says so.
    """

    values: Array
    spacing: tuple[float, float, float]
    affine: Array | None = None
    orientation: str | None = None

    def box(self, score: float, low: Any, high: Any) -> Box:
        """Return the box around the voxels from `low` to `high`, (z, y, x), both included."""
        place = place_of(self.affine, self.spacing)
        ends = [(a - 0.5, b + 0.5) for a, b in zip(low, high, strict=True)]
        corners = np.array([(z, y, x, 1) for z in ends[0] for y in ends[1] for x in ends[2]])
        placed = (corners @ place.T)[:, :AXES]
        first, last = placed.min(axis=0).tolist(), placed.max(axis=0).tolist()
        return Box(float(score), tuple(first), tuple(last))


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

    def place(self) -> tuple[tuple[int, int, int], Array]:
        """Return the shape of the case's volume and the way to millimetres, without its pixels."""
        import pydicom

        heads = [pydicom.dcmread(path, stop_before_pixels=True) for path in self.files]
        heads.sort(key=_position)
        planes = sum(int(head.get("NumberOfFrames") or 1) for head in heads)
        spacing = _spacing(heads)
        shape = (planes, int(heads[0].Rows), int(heads[0].Columns))
        return shape, place_of(_affine(heads[0], spacing), spacing)

    def volume(self) -> Volume:
        """Return the pixel values in their modality's units (HU for CT), as float32."""
        instances = self.datasets()
        planes = [plane for dataset in instances for plane in _planes(dataset)]
        spacing = _spacing(instances)
        affine = _affine(instances[0], spacing)
        return Volume(np.stack(planes), spacing, affine, _orientation(affine))


@dataclass(frozen=True)
class Cohort:
    """The cases of one split."""

    cases: tuple[Case, ...]
    bad_cases_at_most: float = 0.0
    skipped: set[str] = field(default_factory=set)  # names of cases that could not be read

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    def __len__(self) -> int:
        return len(self.cases)

    def volumes(self) -> Iterator[tuple[Case, Volume]]:
        """Yield every case that can be read, with its volume; TooManyBadCases beyond the share."""
        for case in self.cases:
            try:
                volume = case.volume()
            except MemoryError:
                raise
            except Exception as fault:  # pydicom and its decoders raise anything
                self.skipped.add(case.name)
                sys.stderr.write(f"{case.name} cannot be read: {type(fault).__name__}\n")
                if len(self.skipped) > self.bad_cases_at_most * len(self.cases):
                    raise TooManyBadCases from fault
                continue
            yield case, volume


def report(name: str, value: float) -> None:
    """Report a number that the manifest declares under `metrics`."""
    _METRICS[str(name)] = float(value)


def run(config: dict[str, Any]) -> None:
    """Do one round: predict on the held-out cases, then train (unless the model is done)."""
    with open(f"{CODE}/job.toml", "rb") as file:
        manifest = tomllib.load(file)
    kind = manifest["kind"]
    share = float(config.get("bad_cases_at_most", 0.0))
    weights = _weights()
    code = _code(manifest)
    if kind == "analytics":
        if not config.get("evaluate_only"):  # there is no model to measure afterwards
            _write_weights(code.analyse(cohort("training", share), config))
            _write_metrics()
        return
    if hasattr(code, "predict") or kind == "evaluation":
        held_out = cohort("validation", share)
        said = manifest.get("protocol", {}).get("predictions", "scores")
        _write_predictions(code.predict(held_out, weights, config), held_out, said)
    if kind == "training" and not config.get("evaluate_only"):
        _write_weights(code.train(cohort("training", share), weights, config))
        _write_metrics()


def _code(manifest: dict[str, Any]) -> Any:
    """Return whoever has `train`, `predict` or `analyse`: the vendor's module, or one of ours."""
    form = manifest.get("form", "python")
    if form == "flower":
        import radfed_flower  # type: ignore[import-not-found] # it lies beside, inside

        return radfed_flower.App(manifest)
    if form != "python":
        import radfed_shipped  # type: ignore[import-not-found] # as above

        return radfed_shipped.FORMS[form](manifest)
    import job  # type: ignore[import-not-found] # the vendor's

    return job


def cohort(side: str = "training", share: float = 0.0) -> Cohort:
    """Return the cases to learn from, or those held out (`validation`), which have no label."""
    with open(f"{INPUT}/cohort/cohort.json", encoding="utf-8") as file:
        cases = json.load(file)
    return cohort_of(cases[side], f"{INPUT}/cohort", share)


def cohort_of(entries: list[dict[str, Any]], folder: str, share: float = 0.0) -> Cohort:
    """Return the cases that `cohort.json` lists for one side."""
    return Cohort(
        tuple(
            Case(
                entry["case"],
                entry["patient"],
                entry.get("label"),
                tuple(f"{folder}/{name}" for name in entry["files"]),
            )
            for entry in entries
        ),
        share,
    )


def _weights() -> dict[str, Array]:
    path = f"{INPUT}/weights.safetensors"
    if not os.path.exists(path):
        return {}
    from safetensors.numpy import load_file

    weights: dict[str, Array] = load_file(path)
    return weights


def _write_predictions(found: object, cohort: Cohort, said: str) -> None:
    """Write what was predicted, in the form that trusted code reads."""
    if not isinstance(found, dict):
        raise ContractBroken("predict returns {case name: what it predicts}")
    import radfed_places  # type: ignore[import-not-found] # it lies beside, inside

    if said == "boxes":
        radfed_places.write_boxes(f"{OUTPUT}/boxes.csv", found)
    elif said == "masks":
        radfed_places.write_masks(f"{OUTPUT}/masks.bin", found, cohort.cases)
    else:
        _write_scores(found, cohort)


def _write_scores(scores: dict[str, Any], cohort: Cohort) -> None:
    """Write the scores; a case that could not be read counts as undecided, never as left out."""
    scores = dict.fromkeys(cohort.skipped, UNDECIDED) | scores
    with open(f"{OUTPUT}/predictions.csv", "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("case", "score"))
        rows.writerows((name, repr(float(score))) for name, score in scores.items())


def _write_metrics() -> None:
    with open(f"{OUTPUT}/metrics.json", "w", encoding="utf-8") as file:
        json.dump(_METRICS, file)


def _write_weights(weights: object) -> None:
    if not isinstance(weights, dict):
        raise ContractBroken("train and analyse return {tensor name: array}")
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(values) for name, values in weights.items()}
    save_file(arrays, f"{OUTPUT}/weights.safetensors")


def _position(dataset: Any) -> tuple[float, int]:
    """Order slices along their normal (PS3.3 C.7.6.2.1.1), else by instance number."""
    number = int(dataset.get("InstanceNumber") or 0)
    axes, position = _axes(dataset), dataset.get("ImagePositionPatient")
    if axes is None or position is None or len(position) != AXES:
        return (0.0, number)
    return (float(np.dot(np.cross(*axes), np.array(position, float))), number)


def _axes(dataset: Any) -> tuple[Array, Array] | None:
    """Return the ways a row and a column run; None where nothing says so."""
    orientation = dataset.get("ImageOrientationPatient")
    if orientation is None or len(orientation) != 2 * AXES:
        return None
    return np.array(orientation[:AXES], float), np.array(orientation[AXES:], float)


def place_of(affine: Array | None, spacing: tuple[float, float, float]) -> Array:
    """Return the affine; a volume of which nothing says where it lies, lies at zero."""
    if affine is not None:
        return affine
    place = np.zeros((AXES + 1, AXES + 1))
    place[[2, 1, 0, 3], [0, 1, 2, 3]] = *spacing, 1.0
    return place


def _affine(first: Any, spacing: tuple[float, float, float]) -> Array | None:
    axes, position = _axes(first), first.get("ImagePositionPatient")
    if axes is None or position is None or len(position) != AXES:
        return None
    row, column = axes  # values run along `row` as x grows, along `column` as y grows
    affine = np.eye(AXES + 1)
    affine[:AXES, 0] = np.cross(row, column) * spacing[0]
    affine[:AXES, 1] = column * spacing[1]
    affine[:AXES, 2] = row * spacing[2]
    affine[:AXES, AXES] = np.array(position, float)
    return affine


def _orientation(affine: Array | None) -> str | None:
    """Name the way each axis mostly runs: L or R, P or A, H or F."""
    if affine is None:
        return None
    ways = (affine[:AXES, axis] for axis in range(AXES))
    strongest = ((int(np.argmax(np.abs(way))), way) for way in ways)
    return "".join(("LR", "PA", "HF")[at][int(way[at] < 0)] for at, way in strongest)


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
