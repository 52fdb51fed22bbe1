"""The beginning of a job: a bundle's directory that works, with tests that run alone."""

import re
import shutil
from pathlib import Path

import numpy as np

from gateway.errors import ConfigurationFault
from protos.bundle import ENTRY_POINT, INITIAL_WEIGHTS, MANIFEST, Kind, parse_manifest
from protos.evaluation import Predictions
from protos.tensors import encode

SOURCES = Path(__file__).resolve().parent / "beginnings"
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# What the evaluation's example model is: it knows the twin's lesions.
FITTED = {"weight": 6.0, "bias": -9.0, "brightness": 30.0}


def begin(
    name: str, kind: Kind, parent: Path, predictions: Predictions = Predictions.SCORES
) -> list[Path]:
    """Write NAME/ with a manifest, code and tests; return the files."""
    if predictions is not Predictions.SCORES and kind is not Kind.EVALUATION:
        raise ConfigurationFault(f"{predictions} are predicted by an evaluation alone")
    source = SOURCES / (kind if predictions is Predictions.SCORES else f"{kind}-{predictions}")
    if not NAME.fullmatch(name):
        raise ConfigurationFault("a job's name is lower-case letters, digits and hyphens")
    into = parent / name
    if into.exists():
        raise ConfigurationFault(f"{into} exists: name another, or move it away")
    (into / "tests").mkdir(parents=True)
    text = (source / MANIFEST).read_text("utf-8").replace("NAME", name, 1)
    (into / MANIFEST).write_text(text, "utf-8")
    shutil.copyfile(source / ENTRY_POINT, into / ENTRY_POINT)
    shutil.copyfile(SOURCES / "conftest.py", into / "conftest.py")
    shutil.copyfile(source / "test_job.py", into / "tests" / "test_job.py")
    if kind is Kind.EVALUATION:
        schema = parse_manifest(text).weights
        fitted = {each: np.full(spec.shape, FITTED[each]) for each, spec in schema.items()}
        (into / INITIAL_WEIGHTS).write_bytes(encode(fitted, schema))
    return sorted(path for path in into.rglob("*") if path.is_file())
