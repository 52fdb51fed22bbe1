"""The sandbox as the desk uses it: one round of a job, in a hospital's terms."""

from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any, Protocol

from gateway.desk.rules import Refusal, with_subject
from gateway.model import Isolation
from gateway.policy import Jobs
from gateway.sandbox.runner import Finished, JobFailed
from gateway.sandbox.workspace import Workspace
from protos import job_manifest


class Running(Protocol):
    """The sandbox, as much of it as a round needs."""

    def run(
        self,
        bundle: Path,
        workspace: Workspace,
        weights: Path | None,
        config: Mapping[str, Any],
        wall_seconds: float,
        cancelled: Event,
        memory_bytes: int | None = None,
        runtime: str = job_manifest.PLAIN_RUNTIME,
        *,
        gpus: int = 0,
    ) -> Finished | JobFailed: ...

    @property
    def runtimes(self) -> frozenset[str]: ...

    @property
    def isolation(self) -> Isolation: ...

    @property
    def gpus(self) -> int: ...


def run_round(
    runner: Running,
    code: Path,
    workspace: Workspace,
    weights: Path | None,
    manifest: job_manifest.JobManifest,
    *,
    number: int,
    evaluate_only: bool,
    wall_seconds: float,
    cancelled: Event,
) -> Finished | JobFailed:
    """Run a round with what its manifest asks for, and tell the code which round it is."""
    config = {
        **manifest.config,
        "round": number,
        "rounds": manifest.rounds,
        "evaluate_only": evaluate_only,
        "bad_cases_at_most": manifest.bad_cases_at_most,
        "mu": manifest.training.mu,
    }
    memory = manifest.resources.memory_mb << 20
    return runner.run(
        code,
        workspace,
        weights,
        config,
        wall_seconds,
        cancelled,
        memory,
        manifest.runtime,
        gpus=manifest.resources.gpus,
    )


def lacks(runner: Running, manifest: job_manifest.JobManifest) -> Refusal | None:
    """Say what this hospital's sandbox does not have that a job needs."""
    if manifest.runtime not in runner.runtimes:
        return Refusal("runtime_absent")
    if manifest.resources.gpus > runner.gpus:
        return Refusal("gpu_absent")
    return None


def confines(runner: Running, jobs: Jobs) -> bool:
    """Say whether jobs are confined as the policy demands by now, or better."""
    return jobs.isolation is Isolation.BUBBLEWRAP or runner.isolation is Isolation.GVISOR


def failure_word(ended: JobFailed, manifest: job_manifest.JobManifest) -> str:
    """Return the word for a run that failed; an import is named by the reviewed manifest."""
    known = dict(enumerate(manifest.imports))
    missing = "" if ended.subject is None else known.get(ended.subject, "")
    return with_subject(ended.code, missing)
