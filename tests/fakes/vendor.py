"""A vendor for tests: writes bundles and cohorts, and runs the same code unconfined."""

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from threading import Event

from gateway.sandbox.runner import Finished, JobFailed, Runner
from gateway.sandbox.workspace import Workspace

EVALUATION = """\
name = "test-job"
kind = "evaluation"
purpose = "A test."
label = "lesion"
[[cohort]]
field = "Modality"
values = ["CT"]
"""
TRAINING = EVALUATION.replace("evaluation", "training") + "[weights.w]\nshape = [2]\n"
UNCONFINED = """
import json, sys
sys.path.insert(0, sys.argv[1])
import job
print(json.dumps(job.predict((), {}, json.loads(sys.argv[2]))))
"""


def a_bundle(folder: Path, code: str, manifest: str = EVALUATION) -> Path:
    folder.mkdir(parents=True)
    (folder / "job.py").write_text(dedent(code))
    (folder / "job.toml").write_text(manifest)
    return folder


def a_cohort_of_nobody(root: Path) -> Workspace:
    (root / "inside").mkdir(parents=True)
    (root / "inside" / "cohort.json").write_text(json.dumps({"training": [], "validation": []}))
    return Workspace(root, "", 0, 0, {})


def run(
    runner: Runner,
    tmp_path: Path,
    code: str,
    config: dict[str, object] | None = None,
    wall_seconds: float = 20.0,
    manifest: str = EVALUATION,
    cancelled: Event | None = None,
) -> Finished | JobFailed:
    """Run a vendor's `job.py` in the sandbox on an empty cohort."""
    bundle = a_bundle(tmp_path / "bundle", code, manifest)
    cohort = a_cohort_of_nobody(tmp_path / "cohort")
    return runner.run(
        bundle, cohort, None, config or {}, wall_seconds, cancelled or Event(), memory_bytes=None
    )


def run_unconfined(bundle: Path, config: dict[str, object]) -> dict[str, float]:
    """Run the same `predict` in an ordinary process: the control of every attack."""
    finished = subprocess.run(
        [sys.executable, "-c", UNCONFINED, str(bundle), json.dumps(config)],
        capture_output=True,
        check=True,
        timeout=60,
    )
    return json.loads(finished.stdout)
