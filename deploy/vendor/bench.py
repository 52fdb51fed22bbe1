"""A vendor's bench: one hospital on this machine, with a synthetic twin in place of its patients.

What lies between a file and a job is the product's own: the import door, de-identification, the
index, the cohort, the sandbox and the gate. Only the images are nobody's.
"""

import importlib.util
import json
import os
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from math import inf
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.vendor.shapes import load_shape
from deploy.vendor.twin import LABELS, make_twin
from gateway.audit import AuditTrail
from gateway.cohort.privacy import Exhausted
from gateway.config import GatewayConfig
from gateway.deid.engine import Deidentifier
from gateway.deid.profile import load_profile
from gateway.desk.cohorts import Cohorts
from gateway.desk.examining import Examiner, Look
from gateway.desk.locked_sets import LockedSets
from gateway.desk.outcomes import PREDICTED, compose
from gateway.desk.references import References
from gateway.desk.rules import OUTCOME_CODES, Refusal
from gateway.errors import ConfigurationFault
from gateway.intake.importer import import_directory
from gateway.line.custody import Custody
from gateway.line.worker import Line
from gateway.policy import Jobs, Policy
from gateway.release.gate import Gate
from gateway.release.ledger import Ledger
from gateway.release.rules import Withheld
from gateway.release.updates import UpdateShelf
from gateway.sandbox.runner import Finished, JobFailed, Runner
from gateway.sandbox.workspace import Workspace
from gateway.store.files import Store
from gateway.store.index import Index
from gateway.store.labels import import_labels
from gateway.store.strata import Strata
from gateway.store.tally import Tally
from gateway.vault.vault import Vault
from protos import bundle, tensors
from protos.evaluation import Predictions
from protos.v1 import job_pb2

PATIENTS, SEED = 80, 1
NO_SECRET = b"nobody's images need no secret; "  # the same split and root at every vendor's
VENDOR = "you"
HEADER_BYTES = 8 << 20
LOG_LINES = 20
RUNTIME = Path(__file__).resolve().parents[2] / "gateway" / "sandbox" / "runtime"


@dataclass(frozen=True, slots=True)
class DryRun:
    """How one round ended, and what of it would have left a hospital."""

    ends: str  # released | withheld | failed | refused
    code: str
    seconds: float
    leaves: Mapping[str, Any]
    log: tuple[str, ...]  # the end of what the job printed: here it is shown, there it never leaves


class Bench:
    """Everything below one directory; nothing of it is a hospital's."""

    def __init__(self, home: Path, raw: bytes, twin: Path | None = None) -> None:
        self.home, self.raw = home, raw
        self.manifest = bundle.manifest_of(raw)
        self._twin = twin or self._drawn()
        self.index = self._filled(self._twin)
        found = self._cohorts().frozen(home / "workspace", self.manifest)
        self.refusal = found if isinstance(found, Refusal) else None
        self.workspace = found if isinstance(found, Workspace) else None

    def about(self) -> dict[str, Any]:
        """Return what the twin holds for this job."""
        if self.workspace is None:
            return {"cases": 0, "held_out": 0, "left_out": {}}
        return {
            "cases": self.workspace.training_cases,
            "held_out": len(self.workspace.truth),
            "left_out": dict(self.workspace.skipped),
            "cohort_root": self.workspace.digest,
        }

    def dry_run(self, runner: Runner) -> DryRun:
        """Run one round in the sandbox and put what comes out through the gate."""
        if self.workspace is None:
            return DryRun("refused", self.refusal.rule if self.refusal else "", 0.0, {}, ())
        code, weights = self.home / "code", self.home / "weights.safetensors"
        bundle.unpack(self.raw, code)
        old = self._first_weights()
        weights.write_bytes(old)
        resources, config = self.manifest.resources, self.config
        ended = runner.run(
            code,
            self.workspace,
            weights,
            config,
            resources.wall_seconds,
            Event(),
            resources.memory_mb << 20,
            self.manifest.runtime,
            gpus=resources.gpus,
        )
        log = tuple(ended.log.decode("utf-8", "replace").splitlines()[-LOG_LINES:])
        if isinstance(ended, JobFailed):
            return DryRun("failed", ended.code, ended.seconds, {}, log)
        patients = float(max(1, self.workspace.training_patients))
        task = job_pb2.RoundTask(task_id="dry-run.1", job_id="dry-run", round=1)
        left = self._judged(task, ended, old, patients)
        if isinstance(left, Withheld):
            return DryRun("withheld", left.code, ended.seconds, {}, log)
        return DryRun("released", "", ended.seconds, _leaves(left), log)

    def _judged(
        self, task: job_pb2.RoundTask, ended: Finished, old: bytes, patients: float
    ) -> job_pb2.TaskOutcome | Withheld:
        """Judge what came out as a hospital does: by its gate, or by a look's examiner."""
        assert self.workspace is not None
        manifest = self.manifest
        if manifest.protocol is None:
            with closing(Ledger.open(self.home / "ledger.db")) as ledger:
                gate = Gate(_lenient, ledger, UpdateShelf(self.home / "updates"), OUTCOME_CODES)
                return compose(task, ended.outputs, manifest, self.workspace, patients, old, gate)
        digest, strata = bundle.digest(self.raw), Strata(self.index)
        with closing(AuditTrail.open(self.home / "audit.db")) as audit:
            sets = LockedSets(self.home / "tests", NO_SECRET, _lenient, audit)
            with closing(sets):
                sets.unlock(task.task_id, VENDOR, manifest, digest)
                examiner = Examiner(strata, sets, References(strata, self.home / "store", audit))
                look = Look(task.task_id, VENDOR, digest, inf)
                said = ended.outputs.get(PREDICTED[self._predicted])
                return examiner.examine(said, look, manifest, self.workspace, patients)

    @property
    def _predicted(self) -> Predictions:
        protocol = self.manifest.protocol
        return protocol.predictions if protocol is not None else Predictions.SCORES

    @property
    def config(self) -> dict[str, Any]:
        """Return what the job's functions are told of its round."""
        return {
            **self.manifest.config,
            "round": 1,
            "rounds": self.manifest.rounds,
            "evaluate_only": False,
            "bad_cases_at_most": self.manifest.bad_cases_at_most,
            "mu": self.manifest.training.mu,
        }

    @property
    def weights(self) -> dict[str, NDArray[Any]]:
        """Return the first round's weights as arrays."""
        found = tensors.decode(self._first_weights(), self.manifest.weights)
        return {name: np.array(found[name]) for name in self.manifest.weights}

    def cohort(self, side: str = "training") -> Any:  # noqa: ANN401 - of the runtime, untyped here
        """Return the cases as a job sees them: `training`, or `validation` without labels."""
        if self.workspace is None:
            raise ConfigurationFault("the twin has no case that this job's cohort takes")
        lists = json.loads((self.workspace.inside / "cohort.json").read_text("utf-8"))
        share = self.manifest.bad_cases_at_most
        return runtime_library().cohort_of(lists[side], str(self.workspace.inside), share)

    @property
    def truth(self) -> Mapping[str, int]:
        """Return the held-out cases' labels: here they are known, in a hospital they stay."""
        return self.workspace.truth if self.workspace is not None else {}

    def _drawn(self) -> Path:
        shape = load_shape().only(
            value for one in self.manifest.cohort if one.field == "Modality" for value in one.values
        )
        directory = self.home / "twin"
        places = self._predicted is not Predictions.SCORES
        make_twin(directory, shape, PATIENTS, SEED, self.manifest.label, drawn_too=places)
        return directory

    def _filled(self, twin: Path) -> Index:
        """Bring the twin in by the same way as a hospital's files."""
        profile = load_profile(GatewayConfig.model_fields["deid"].default.profile)
        engine = Deidentifier(profile, NO_SECRET, NO_SECRET)
        store = Store(self.home / "store", NO_SECRET)
        vault = Vault(self.home / "vault", NO_SECRET)
        custody = Custody(store, vault, engine, header_limit_bytes=HEADER_BYTES, reserve_bytes=0)
        import_directory(twin, custody)
        index = Index.open(self.home / "index.db")
        line = Line(store, vault, engine, index, quiet_seconds=0.0)
        while line.run_once():
            pass
        line.close()
        if (labels := twin / LABELS).exists():
            import_labels(index, labels, engine)
        return index

    def _cohorts(self) -> Cohorts:
        return Cohorts(Tally(self.index), _Unweighed(), self.home / "store", NO_SECRET)

    def _first_weights(self) -> bytes:
        schema = self.manifest.weights
        zeros = {name: np.zeros(spec.shape) for name, spec in schema.items()}
        return bundle.initial_weights(self.raw) or tensors.encode(zeros, schema)


class _Unweighed:
    """Nobody's count needs no noise."""

    def noisy_patients(self, _what: str, _requester: str, true: int) -> int | Exhausted:
        return true


def a_bench(directory: Path, home: Path, twin: Path | None = None) -> Bench:
    """Return a bench for a bundle's directory; what vendors' own tests begin with.

    A twin made before is used where `RADFED_TWIN` names one: drawing takes a while.
    """
    home.mkdir(parents=True, exist_ok=True)
    named = os.environ.get("RADFED_TWIN")
    return Bench(home, bundle.pack(directory), twin or (Path(named) if named else None))


def runtime_library() -> Any:  # noqa: ANN401 - plain files of the sandbox, not a package
    """Return `radfed_job`, as a job imports it."""
    if (known := sys.modules.get("radfed_job")) is not None:
        return known
    spec = importlib.util.spec_from_file_location("radfed_job", RUNTIME / "radfed_job.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["radfed_job"] = module
    spec.loader.exec_module(module)
    return module


def _lenient() -> Policy:
    """Allow what a hospital might not: a vendor sees the rest in `leaves`."""
    return Policy(jobs=Jobs(allow_no_noise=True))


def _leaves(left: job_pb2.TaskOutcome) -> dict[str, Any]:
    """Say what would have left: sizes and bounds, and the numbers a job reported."""
    bounded = left.leakage_bits >= 0
    told: dict[str, Any] = {
        "update_bytes": left.update_size,
        "leakage_bits": round(left.leakage_bits, 1) if bounded else "no leakage bound",
        "metrics": {metric.name: metric.value for metric in left.metrics},
        "statistics": left.HasField("validation") or bool(left.statistics),
    }
    if left.HasField("validation"):
        told["auc_on_twin"] = round(_auc(left.validation), 3)
    said = job_pb2.EvaluationStatistics.FromString(left.statistics)
    for boxes in said.detections[:1]:
        told["findings_on_twin"] = boxes.lesions
        told["sensitivity_on_twin"] = round(boxes.at_threshold[0] / max(1, boxes.lesions), 3)
        told["false_marks_on_twin"] = boxes.at_threshold[3]
    for masks in said.overlaps[:1]:
        told["dice_on_twin"] = round(masks.dice_sum / 1000 / masks.positives, 3)
    return told


def _auc(histogram: job_pb2.ScoreHistogram) -> float:
    """Return the area under the curve of one histogram, ties counted half."""
    positives = np.array(histogram.positives, float)
    negatives = np.array(histogram.negatives, float)
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum() / positives.sum() / negatives.sum())
