"""How a finished run is judged: what of it may leave, or the one closed word told instead."""

from collections.abc import Callable

from gateway.desk.book import JobRow
from gateway.desk.charging import Charging
from gateway.desk.examining import Examiner, Look
from gateway.desk.offers import offer_of
from gateway.desk.outcomes import PREDICTED, UpdateGate, compose, hide
from gateway.policy import Policy
from gateway.release.rules import Withheld
from gateway.sandbox.runner import Finished
from gateway.sandbox.workspace import Workspace
from protos import job_manifest
from protos.tensors import Buffer
from protos.v1 import job_pb2


class Judging:
    def __init__(
        self,
        gate: UpdateGate,
        examiner: Examiner,
        charging: Charging,
        policy: Callable[[], Policy],
    ) -> None:
        self._gate = gate
        self._examiner = examiner
        self._charging = charging
        self._policy = policy

    def judge(
        self,
        task: job_pb2.RoundTask,
        job: JobRow,
        ended: Finished,
        manifest: job_manifest.JobManifest,
        cohort: tuple[Workspace, float],
        old: Buffer,
    ) -> job_pb2.TaskOutcome | Withheld:
        """Return what may leave of a finished run, charged; or why nothing of it does."""
        workspace, weight = cohort
        if manifest.protocol is not None:
            found = self._examine(task, job, ended, manifest, workspace, weight)
        else:
            found = compose(task, ended.outputs, manifest, workspace, weight, old, self._gate)
        if isinstance(found, Withheld):
            return found
        return self._charging.release(found, job.vendor, manifest) or found

    def _examine(
        self,
        task: job_pb2.RoundTask,
        job: JobRow,
        ended: Finished,
        manifest: job_manifest.JobManifest,
        workspace: Workspace,
        weight: float,
    ) -> job_pb2.TaskOutcome | Withheld:
        look = Look(
            task.task_id,
            job.vendor,
            offer_of(job).bundle_digest,
            self._policy().jobs.leakage_bits_per_job_at_most,
        )
        assert manifest.protocol is not None
        said = ended.outputs.get(PREDICTED[manifest.protocol.predictions])
        found = self._examiner.examine(said, look, manifest, workspace, weight)
        if isinstance(found, Withheld) or not manifest.is_summed:
            return found
        return hide(found, manifest, self._gate)
