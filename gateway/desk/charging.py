"""What a round costs its vendor: checked before it runs, charged before anything of it leaves."""

import json
from collections.abc import Callable
from hashlib import sha256
from math import log2

from gateway.desk.rules import OUTCOME_CODES, Refusal, update_bits
from gateway.desk.ticks import moments
from gateway.evaluate.boxes import MARKS_AT_MOST
from gateway.policy import Policy
from gateway.release.bits import BitsLedger, Charge
from gateway.release.places import most_bits
from gateway.release.rules import Withheld, histogram_bits, metric_bits
from gateway.release.tensors import TensorCode
from gateway.sandbox.workspace import Workspace
from protos.evaluation import Predictions
from protos.job_manifest import JobManifest
from protos.scores import BINS
from protos.update_price import rho_per_patient
from protos.v1 import job_pb2

BUDGET, UNRECONCILED = "vendor_budget", "ledger_unreconciled"
WITHOUT_NOISE = -1.0
CODES_OF_TENSORS = (TensorCode.SCHEMA_MISMATCH, TensorCode.NOT_FINITE)  # that may name one


def dataset_of(manifest: JobManifest) -> str:
    """Name what a job looks at: the label and the cohort, however its conditions are ordered."""
    asked = sorted([c.field, c.operator, sorted(c.values)] for c in manifest.cohort)
    return f"{manifest.label}/{sha256(json.dumps(asked).encode()).hexdigest()[:12]}"


def code_bits(manifest: JobManifest) -> float:
    """Return what the word of how a round ended can carry, with the names beside it, and when."""
    named = len(CODES_OF_TENSORS) * len(manifest.weights) + len(manifest.imports)
    return log2(len(OUTCOME_CODES) + named + 1) + log2(moments(manifest.resources.wall_seconds))


def round_bits(manifest: JobManifest, positives: int, negatives: int) -> float:
    """Bound what one round of a job can carry beside its word; negative for "no bound"."""
    update = update_bits(manifest)
    metrics = sum(map(metric_bits, manifest.metrics))
    counts = _counts_bits(manifest, positives, negatives)
    return update if update < 0 else update + metrics + counts


def _counts_bits(manifest: JobManifest, positives: int, negatives: int) -> float:
    protocol = manifest.protocol
    if protocol is None or protocol.predictions is Predictions.SCORES:
        return histogram_bits(positives, BINS) + histogram_bits(negatives, BINS)
    cases = positives + negatives
    each = most_bits(protocol.predictions, cases, MARKS_AT_MOST * cases)
    compared = 2 * (protocol.compare_with is not None)  # a comparison says less than two cells can
    return each * (1 + len(protocol.subgroups) + compared)


class Charging:
    """One vendor's budget is one number over all its jobs and data sets (policy)."""

    def __init__(self, bits: BitsLedger, policy: Callable[[], Policy]) -> None:
        self._bits = bits
        self._policy = policy

    def begin(self, task: str, attempt: int, vendor: str, manifest: JobManifest) -> Refusal | None:
        """Charge the word of how an attempt will have ended, before any patient is looked at.

        Whatever it is then refused for, the refusal rests on who is here, and is told.
        """
        word = Charge(
            f"{task}/attempt {attempt}", vendor, dataset_of(manifest), code_bits(manifest)
        )
        if self._bits.charge(word, self._at_most):
            return None
        waits = self._bits.waiting_since() is not None
        return Refusal(UNRECONCILED if waits else BUDGET)

    def affords(self, vendor: str, manifest: JobManifest, workspace: Workspace) -> Refusal | None:
        """Refuse a round that could pass the bound."""
        positives = sum(workspace.truth.values())
        worst = round_bits(manifest, positives, len(workspace.truth) - positives)
        within = self._bits.spent(vendor) + max(worst, 0.0) <= self._at_most
        return None if within else Refusal(BUDGET)

    def release(
        self, outcome: job_pb2.TaskOutcome, vendor: str, manifest: JobManifest
    ) -> Withheld | None:
        """Charge what an outcome carries beside its word; withhold what the budget has not."""
        dataset = dataset_of(manifest)
        update = update_bits(manifest) if outcome.update_digest else 0.0
        bits = max(outcome.leakage_bits - max(update, 0.0), 0.0)
        exact = (
            outcome.HasField("validation") or bool(outcome.statistics) or len(outcome.metrics) > 0
        )
        charges = [
            Charge(
                f"{outcome.task_id}/statistics", vendor, dataset, bits, WITHOUT_NOISE * float(exact)
            )
        ]
        if outcome.update_digest:
            rho = rho_per_patient(manifest.clip, manifest.sigma) if manifest.sigma else -1.0
            charges.append(Charge(f"{outcome.task_id}/update", vendor, dataset, update, rho))
        paid = all(self._bits.charge(charge, self._at_most) for charge in charges)
        return None if paid else Withheld(BUDGET)

    def spent(self, vendor: str) -> float:
        return self._bits.spent(vendor)

    def log(self, reference: str, vendor: str, manifest: JobManifest, size: int) -> bool:
        """Charge a text that a steward releases by hand: every bit of it."""
        charge = Charge(reference, vendor, dataset_of(manifest), 8.0 * size, WITHOUT_NOISE)
        return self._bits.charge(charge, self._at_most)

    @property
    def _at_most(self) -> float:
        return self._policy().jobs.leakage_bits_per_vendor_at_most
