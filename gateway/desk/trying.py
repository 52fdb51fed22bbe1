"""A dry run: the vendor's code on a few cases of this hospital's own, of which nothing leaves."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from gateway.desk.outcomes import METRICS, PREDICTED, WEIGHTS
from gateway.desk.rules import Refusal, with_subject
from gateway.desk.running import Running, failure_word, lacks, run_round
from gateway.evaluate.boxes import read_boxes
from gateway.evaluate.masks import read_masks
from gateway.evaluate.metrics import FEWEST_PATIENTS, MetricsCode, read_metrics
from gateway.evaluate.statistics import NoStatistics, read_predictions
from gateway.model import Pseudonym
from gateway.release.logs import redacted, words_of
from gateway.release.normal import SecureNormal
from gateway.release.tensors import CheckedUpdate, Withheld, check_update
from gateway.sandbox.rules import Split
from gateway.sandbox.runner import JobFailed
from gateway.sandbox.workspace import CohortSeries, Workspace, freeze
from protos import bundle, job_manifest
from protos.evaluation import Predictions
from protos.tensors import Buffer

FEW_PATIENTS = 4  # on either side
READ: Mapping[Predictions, Callable[[Buffer, Mapping[str, int]], object]] = {
    Predictions.SCORES: read_predictions,
    Predictions.BOXES: read_boxes,
    Predictions.MASKS: read_masks,
}


@dataclass(frozen=True, slots=True)
class Tried:
    """What a steward learns of it; the numbers are of few patients and stay here."""

    ended: str  # `would be released`, or the code that would be told
    seconds: float
    patients: int
    cases: int
    update_norm: float | None  # before clipping
    clipped: bool | None
    noise_norm: float | None
    metrics: dict[str, float]
    log: str  # redacted

    def document(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class Nowhere:
    """Where a dry run's update is written."""

    def write(self, piece: bytes | memoryview, /) -> None:
        """Forget it."""


def attempt(
    raw: bytes,
    few: list[CohortSeries],
    labels: Mapping[str, int],
    split: Callable[[Pseudonym], Split | None],
    runner: Running,
    home: Path,
) -> Tried | Refusal:
    """Unpack, freeze, run and judge in `home`, which the caller removes."""
    manifest = bundle.unpack(raw, home / "code")
    if refusal := lacks(runner, manifest):
        return refusal
    workspace = freeze(home / "workspace", few, labels, split)
    patients = len({series.patient for series in few})
    if patients == 0 or workspace.is_empty:
        return Refusal("cohort_too_small")
    old, weights = bundle.initial_weights(raw) or b"", None
    if old:
        weights = home / "initial.safetensors"
        weights.write_bytes(old)
    ended = run_round(
        runner,
        home / "code",
        workspace,
        weights,
        manifest,
        number=1,
        evaluate_only=False,
        wall_seconds=manifest.resources.wall_seconds,
        cancelled=Event(),
    )
    words = words_of(bundle.read(raw))
    if isinstance(ended, JobFailed):
        facts = _Facts(failure_word(ended, manifest), None, {})
    else:
        facts = _judge(ended.outputs, manifest, workspace, old)
    checked = facts.checked
    return Tried(
        ended=facts.code or "would be released",
        seconds=round(ended.seconds, 2),
        patients=patients,
        cases=len(workspace.cases()),
        update_norm=checked.norm if checked else None,
        clipped=checked.clipped if checked else None,
        noise_norm=checked.noise_norm if checked else None,
        metrics=facts.metrics,
        log=redacted(ended.log, words),
    )


def choose(
    cohort: list[CohortSeries], split: Callable[[Pseudonym], Split | None]
) -> list[CohortSeries]:
    """Return the series of a few patients of either side, always the same ones; never a test's."""
    chosen: dict[Split, set[Pseudonym]] = {Split.TRAINING: set(), Split.VALIDATION: set()}
    for patient in sorted({series.patient for series in cohort}):
        side = split(patient)
        if side in chosen and len(chosen[side]) < FEW_PATIENTS:
            chosen[side].add(patient)
    kept = set().union(*chosen.values())
    return [series for series in cohort if series.patient in kept]


@dataclass(frozen=True, slots=True)
class _Facts:
    code: str
    checked: CheckedUpdate | None
    metrics: dict[str, float]


def _judge(
    outputs: Mapping[str, Buffer],
    manifest: job_manifest.JobManifest,
    workspace: Workspace,
    old: bytes,
) -> _Facts:
    """Judge outputs as a round would be judged, but for how many cases there are."""
    trains, tests = manifest.sends_tensors, manifest.kind != "analytics"
    said = manifest.protocol.predictions if manifest.protocol else Predictions.SCORES
    predictions = outputs.get(PREDICTED[said]) if tests else None
    if predictions is not None:
        found = READ[said](predictions, workspace.truth)
        if isinstance(found, NoStatistics):
            return _Facts(found.code, None, {})
    elif not trains:
        return _Facts("predictions_missing", None, {})
    return _judge_update(outputs, manifest, old) if trains else _Facts("", None, {})


def _judge_update(
    outputs: Mapping[str, Buffer], manifest: job_manifest.JobManifest, old: bytes
) -> _Facts:
    metrics = read_metrics(outputs.get(METRICS) or b"{}", manifest.metrics, FEWEST_PATIENTS)
    if isinstance(metrics, MetricsCode):
        return _Facts(metrics, None, {})
    if (new := outputs.get(WEIGHTS)) is None:
        return _Facts("update_missing", None, dict(metrics))
    checked = check_update(
        new, old, manifest.weights, manifest.clip, manifest.sigma, SecureNormal(), Nowhere()
    )
    if isinstance(checked, Withheld):
        return _Facts(with_subject(checked.code, checked.tensor), None, dict(metrics))
    return _Facts("", checked, dict(metrics))


class Tries:
    """The newest dry run of each job, beside its other files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, job_id: str, digest: str, tried: Tried) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = {"job_id": job_id, "bundle": digest, **tried.document()}
        (self._directory / f"{digest}.json").write_text(json.dumps(kept), "utf-8")

    def of(self, digest: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads((self._directory / f"{digest}.json").read_text())
        except FileNotFoundError:
            return None
        return found
