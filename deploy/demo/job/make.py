"""Lays out the demo vendor's bundles: code, manifest, and the first round's weights."""

import shutil
from pathlib import Path

import numpy as np

from protos.bundle import ENTRY_POINT, INITIAL_WEIGHTS
from protos.job_manifest import MANIFEST, Kind, parse_manifest
from protos.tensors import encode

SOURCES = Path(__file__).resolve().parent


def lay_out(kind: Kind, into: Path, *, summed: bool = False) -> Path:
    """Write a bundle's directory, ready for `radfed job submit`, and return it.

    Training starts from zeros: a detector that knows nothing (AUC 0.5). An evaluation brings no
    weights of its own; the model to test is named at submission. One that is summed runs one round.
    """
    into.mkdir(parents=True, exist_ok=True)
    manifest = (SOURCES / kind / MANIFEST).read_text("utf-8")
    if summed:
        manifest = 'sum = "secure"\n' + manifest.replace("rounds = 5", "rounds = 1")
    (into / MANIFEST).write_text(manifest, "utf-8")
    shutil.copyfile(SOURCES / Kind.TRAINING / ENTRY_POINT, into / ENTRY_POINT)
    if kind is Kind.TRAINING:
        schema = parse_manifest((into / MANIFEST).read_text("utf-8")).weights
        zeros = {name: np.zeros(spec.shape) for name, spec in schema.items()}
        (into / INITIAL_WEIGHTS).write_bytes(encode(zeros, schema))
    return into
