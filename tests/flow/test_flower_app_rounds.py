"""The Flower App that the bench runs on a SuperLink and SuperNodes, unchanged, in a federation."""

import asyncio
import os
import shutil
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.numpy import load

from coordinator.api.client import Federation as Client
from gateway.desk.rules import JobStage
from gateway.policy import Jobs, Policy, Vendor
from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner
from protos import bundle, tensors
from protos.v1.federation_pb2 import SubmitJobRequest
from tests.fakes.brightness import Signer
from tests.fakes.federation import a_federation
from tests.fakes.hospital import Hospital
from tests.fakes.linked import running, wait

pytestmark = pytest.mark.flow
APP = Path(__file__).parents[1] / "bench" / "rounds" / "flower"
RUNTIME = Path(os.environ.get("RADFED_RUNTIMES", "/nowhere"), "flower")
JOB_TOML = """
name = "nothing"
kind = "training"
form = "flower"
purpose = "An app that was written for Flower."
label = "nodule"
rounds = 2
sigma = 0.0
runtime = "flower"
cohort = [{ field = "Modality", values = ["CT"] }]
resources = { wall_seconds = 60, memory_mb = 1024 }
[weights.first]
shape = [3]
[weights.second]
shape = [2, 2]
"""


@pytest.mark.skipif(not RUNTIME.is_dir(), reason="RADFED_RUNTIMES names no directory with `flower`")
def test_an_app_written_for_flower_trains_in_a_federation_as_it_is(tmp_path):
    signer = Signer(Ed25519PrivateKey.generate())
    jobs = Jobs(
        vendors=(Vendor(name="acme", public_key=signer.public.hex()),),
        allow_no_noise=True,
    )
    runner = Runner.on_this_machine(Limits(memory_bytes=2 << 30), offered={"flower": RUNTIME})
    sites = {name: Hospital(tmp_path / name, runner, Policy(jobs=jobs)) for name in ("a", "b")}
    for hospital in sites.values():
        hospital.now = datetime.now(UTC)
        hospital.admit_images(30)
    shutil.copytree(APP, tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "app" / "job.toml").write_text(JOB_TOML)
    raw = bundle.pack(tmp_path / "app")
    first = {"first": np.arange(3.0), "second": np.full((2, 2), -1.0)}
    weights = tensors.encode(first, bundle.manifest_of(raw).weights)

    def live(federation, tokens):
        with (
            running(sites["a"], "a", tokens["a"]) as one,
            running(sites["b"], "b", tokens["b"]) as two,
            Client(federation.credential) as client,
        ):
            wait(lambda: one.is_connected and two.is_connected)
            for content in (raw, weights):
                client.upload(content)
            job_id = client.submit(
                SubmitJobRequest(
                    bundle_digest=bundle.digest(raw),
                    vendor_key=signer.public,
                    vendor_signature=bundle.sign(raw, signer.key),
                    initial_weights_digest=sha256(weights).digest(),
                )
            )
            for hospital in sites.values():
                wait(lambda at=hospital: at.book.jobs_at(JobStage.WAITING))
                hospital.desk.approve(job_id, "Dr. Steward")
            over = ("finished", "failed", "stopped")
            wait(lambda: client.job(job_id).job.stage in over, 90)
            return client.job(job_id), b"".join(client.result(job_id))

    async def story():
        async with a_federation(tmp_path / "hub") as federation:
            tokens = {name: await federation.invited(name) for name in sites}
            return await asyncio.to_thread(live, federation, tokens)

    shown, model = asyncio.run(story())

    assert shown.job.stage == "finished", shown
    found = load(model)
    assert found.keys() == first.keys()
    for name, values in first.items():
        assert np.allclose(found[name], values + 2e-6, atol=5e-7)
    assert not np.allclose(found["first"], first["first"], atol=1e-7)
