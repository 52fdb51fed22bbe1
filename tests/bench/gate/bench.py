"""The output gate on a large update, and how soon an approved job's first line runs."""

import json
import shutil
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from threading import Event

import numpy as np

from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Finished, Runner
from protos import bundle
from protos.tensors import TensorSpec, encode_header
from tests.bench.gate.subject import SUBJECTS
from tests.bench.registry import Terms
from tests.bench.rows import Figures, Goal, Row
from tests.fakes import vendor

OURS, PEER = "radfed", "sha256 + noise"
VALUES, QUICK_VALUES = 100_000_000, 10_000_000
STARTS, QUICK_STARTS = 20, 5
START_CASE = "approved bundle to first line"
FIRST_LINE = """
import time
BEGAN = time.clock_gettime(time.CLOCK_MONOTONIC)

def predict(cohort, weights, config):
    return {"began": BEGAN}
"""


def run(terms: Terms) -> list[Row]:
    figures, goals = Figures("gate"), [Goal(START_CASE, OURS, "start", at_most=0.5)]
    count = QUICK_VALUES if terms.quick else VALUES
    case = f"{count // 1_000_000} M float32 update"
    if terms.runs(case):
        goals += _weigh(terms, case, count, figures)
    if terms.runs(START_CASE):
        for number in range(QUICK_STARTS if terms.quick else STARTS):
            seconds = _start(terms.directory / f"start-{number}")
            figures.add(START_CASE, OURS, "start", "s", seconds)
    return figures.rows(ours=[OURS], goals=goals)


def _weigh(terms: Terms, case: str, count: int, figures: Figures) -> list[Goal]:
    new, old = (_tensors(terms.directory, count, seed) for seed in (1, 2))
    size = new.stat().st_size
    for number in range(terms.rounds):
        for name in SUBJECTS:
            if not terms.wants(name):
                continue
            terms.say(f"round {number + 1}: {name}, {size >> 20} MiB")
            home = terms.directory / f"home-{number}-{len(name)}"
            words = [sys.executable, "-m", "tests.bench.gate.subject", name, new, old, home]
            done = subprocess.run(words, check=True, capture_output=True)
            found = json.loads(done.stdout)
            shutil.rmtree(home)
            figures.add(case, name, "CPU", "s", found["cpu"])
            figures.add(case, name, "memory / size of the update", "x", found["memory"] / size)
    return [
        Goal(case, OURS, "CPU", at_most=1.5, peer=PEER),
        Goal(case, OURS, "memory / size of the update", at_most=1.5),
    ]


def _tensors(directory: Path, count: int, seed: int) -> Path:
    """Write a model of some tensors, named by its digest as the desk keeps one."""
    schema = {f"layer{n}": TensorSpec(shape=(count // 10,)) for n in range(10)}
    draft, digest = directory / f"draft-{seed}", sha256()
    drawn = np.random.default_rng(seed)
    with draft.open("wb") as file:
        for piece in (encode_header(schema), *(_layer(drawn, count // 10) for _ in schema)):
            digest.update(piece)
            file.write(piece)
    return draft.rename(directory / digest.hexdigest())


def _layer(drawn: np.random.Generator, count: int) -> bytes:
    return drawn.standard_normal(count, dtype="f4").tobytes()


def _start(folder: Path) -> float:
    """Unpack an approved bundle and start it as a round does; return when its first line ran."""
    raw = bundle.pack(vendor.a_bundle(folder / "bundle", FIRST_LINE))
    cohort = vendor.a_cohort_of_nobody(folder / "cohort")
    runner = Runner.on_this_machine(Limits(memory_bytes=1 << 30))
    began = time.clock_gettime(time.CLOCK_MONOTONIC)
    bundle.unpack(raw, folder / "code")
    ended = runner.run(folder / "code", cohort, None, {}, 60, Event())
    assert isinstance(ended, Finished), ended.code
    return float(bytes(ended.outputs["predictions.csv"]).split(b",")[-1]) - began
