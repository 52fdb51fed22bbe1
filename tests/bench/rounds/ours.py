"""Rounds of this product: a coordinator and three hospitals, each a process of its own."""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protos import bundle, tensors
from protos.v1.federation_pb2 import SubmitJobRequest
from tests.bench.federation.harness import Centre
from tests.bench.processes import REPOSITORY, free_port
from tests.bench.rounds.weighing import Weighing

SITES = ("hospital-0", "hospital-1", "hospital-2")
TENSORS = 10
JOB_SECONDS = 7200.0
JOB_PY = """
import numpy as np

def train(cohort, weights, config):
    return {name: values + np.float32(1e-6) for name, values in weights.items()}
"""


def job_toml(values: int, rounds: int) -> str:
    layers = "".join(
        f"[weights.layer{number}]\nshape = [{values // TENSORS}]\n" for number in range(TENSORS)
    )
    return f"""
name = "nothing"
kind = "training"
purpose = "Rounds without any work in them."
label = "nodule"
rounds = {rounds}
clip = 1.0
sigma = 0.001
cohort = [{{ field = "Modality", values = ["CT"] }}]
resources = {{ wall_seconds = 600, memory_mb = 4096 }}
{layers}"""


def measure(home: Path, values: int, rounds: int) -> tuple[list[float], float]:
    """Return how long each round but the first took, and the coordinator's peak in MB."""
    key = Ed25519PrivateKey.generate()
    centre = Centre.found(home / "centre", SITES, free_port(), reviews=0, quorum=3)
    centre.start()
    assert centre.tree is not None
    weighing = Weighing(centre.tree.leader)
    try:
        with hospitals(centre, home, key):
            job = submitted(centre, home, key, values, rounds)
            wait(centre, job)
    finally:
        peak = weighing.stop()
        centre.stop()
    return [after - before for before, after in pairwise(_closed(centre.home, rounds))], peak


@contextmanager
def hospitals(
    centre: Centre, home: Path, key: Ed25519PrivateKey, sites: Sequence[str] = SITES
) -> Iterator[None]:
    """Start hospitals that have pinned the vendor's key, and wait until all are connected."""
    tokens, vendor = centre.invite(sites), key.public_key().public_bytes_raw().hex()
    members = [_started(home / site, site, tokens[site], vendor) for site in sites]
    try:
        for member in members:
            assert member.stdout is not None
            assert member.stdout.readline(), f"a hospital did not start: see {home}"
        ends = time.monotonic() + 60
        while centre.connected() < len(sites):
            assert time.monotonic() < ends, "the hospitals do not connect"
            time.sleep(0.1)
        yield
    finally:
        for member in members:
            assert member.stdin is not None
            member.stdin.close()
        for member in members:
            try:
                member.wait(30)
            except subprocess.TimeoutExpired:
                member.kill()


def _started(home: Path, site: str, token: str, vendor: str) -> "subprocess.Popen[str]":
    home.mkdir()
    words = ("-m", "tests.bench.rounds.member", str(home), site, token, vendor)
    with (home.parent / f"{site}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=REPOSITORY,
        )


def submitted(centre: Centre, home: Path, key: Ed25519PrivateKey, values: int, rounds: int) -> str:
    """Submit the job with weights of its own to begin with; return its name."""
    folder = home / "bundle"
    folder.mkdir()
    (folder / "job.py").write_text(JOB_PY, "utf-8")
    (folder / "job.toml").write_text(job_toml(values, rounds), "utf-8")
    raw = bundle.pack(folder)
    draw, schema = np.random.default_rng(1), bundle.manifest_of(raw).weights
    first = {name: draw.standard_normal(spec.count, "f4") for name, spec in schema.items()}
    weights = tensors.encode(first, schema)
    with centre.operator() as client:
        for content in (raw, weights):
            client.upload(content)
        return client.submit(
            SubmitJobRequest(
                bundle_digest=bundle.digest(raw),
                vendor_key=key.public_key().public_bytes_raw(),
                vendor_signature=bundle.sign(raw, key),
                initial_weights_digest=sha256(weights).digest(),
            )
        )


def wait(centre: Centre, job: str) -> None:
    ends = time.monotonic() + JOB_SECONDS
    with centre.operator() as client:
        while (shown := client.job(job)).job.stage not in {"finished", "failed", "stopped"}:
            assert time.monotonic() < ends, f"the job is still {shown.job.stage}"
            time.sleep(0.5)
        assert shown.job.stage == "finished", shown.job.reason


def _closed(home: Path, rounds: int) -> Sequence[float]:
    """Return when each training round had its updates, as the coordinator wrote it down."""
    (file,) = (path for path in home.rglob("*.db") if _has_rounds(path))
    with closing(sqlite3.connect(file)) as tables:
        asked = "SELECT closed_at FROM round WHERE number <= ? ORDER BY number"
        return [float(row[0]) for row in tables.execute(asked, (rounds,))]


def _has_rounds(path: Path) -> bool:
    with closing(sqlite3.connect(path)) as tables:
        return bool(tables.execute("SELECT 1 FROM sqlite_master WHERE name = 'round'").fetchall())
