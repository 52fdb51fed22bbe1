"""The beginning of a job: a bundle's directory that works, with tests that run alone."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gateway.errors import ConfigurationFault
from protos.bundle import INITIAL_WEIGHTS
from protos.evaluation import Predictions
from protos.job_manifest import MANIFEST, Kind, parse_manifest
from protos.tensors import encode

SOURCES = Path(__file__).resolve().parent / "beginnings"
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
PYTHON = "python"
# What there is beside plain Python of each kind; the directories bear these names.
OTHERS: Mapping[str, Kind] = {
    "torch": Kind.TRAINING,
    "flower": Kind.TRAINING,
    "glm": Kind.TRAINING,
    "logistic": Kind.TRAINING,
    "moments": Kind.ANALYTICS,
    "histogram": Kind.ANALYTICS,
}
TEST, CONFTEST = "test_job.py", "conftest.py"
# What the evaluation's example model is: it knows the twin's lesions.
FITTED = {"weight": 6.0, "bias": -9.0, "brightness": 30.0}


def begin(
    name: str,
    kind: Kind,
    parent: Path,
    form: str = PYTHON,
    predictions: Predictions = Predictions.SCORES,
) -> list[Path]:
    """Write NAME/ with a manifest, code and tests; return the files."""
    if predictions is not Predictions.SCORES and kind is not Kind.EVALUATION:
        raise ConfigurationFault(f"{predictions} are predicted by an evaluation alone")
    beginning = str(kind) if form == PYTHON else form
    if predictions is not Predictions.SCORES:
        beginning = f"{kind}-{predictions}"
    source = SOURCES / beginning
    if not NAME.fullmatch(name):
        raise ConfigurationFault("a job's name is lower-case letters, digits and hyphens")
    into = parent / name
    if into.exists():
        raise ConfigurationFault(f"{into} exists: name another, or move it away")
    for path in sorted(source.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            place = into / ("tests" if path.name == TEST else "") / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
    text = (source / MANIFEST).read_text("utf-8").replace("NAME", name, 1)
    (into / MANIFEST).write_text(text, "utf-8")
    if (source / TEST).exists():
        shutil.copyfile(SOURCES / CONFTEST, into / CONFTEST)
    if kind is Kind.EVALUATION:
        schema = parse_manifest(text).weights
        fitted = {each: np.full(spec.shape, FITTED[each]) for each, spec in schema.items()}
        (into / INITIAL_WEIGHTS).write_bytes(encode(fitted, schema))
    return sorted(path for path in into.rglob("*") if path.is_file())
