"""A training round whose updates nobody sees: real gateways, a real coordinator, real gRPC."""

import asyncio
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator.api.client import Federation as Client
from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner
from protos import bundle, tensors
from protos.v1.federation_pb2 import SubmitJobRequest
from tests.fakes.brightness import JOB_TOML, SCHEMA, Signer, a_bundle
from tests.fakes.federation import a_federation
from tests.fakes.linked import running, wait
from tests.fakes.summing import acquainted

pytestmark = pytest.mark.flow
SUMMED = 'sum = "secure"\n' + JOB_TOML.replace("rounds = 3", "rounds = 1")


@pytest.fixture(scope="module")
def runner():
    return Runner.on_this_machine(Limits(memory_bytes=2 << 30))


def submitted(client, raw, signer):
    weights = tensors.encode({"w": np.zeros(2)}, SCHEMA)
    for content in (raw, weights):
        client.upload(content)
    return client.submit(
        SubmitJobRequest(
            bundle_digest=bundle.digest(raw),
            vendor_key=signer.public,
            vendor_signature=bundle.sign(raw, signer.key),
            initial_weights_digest=sha256(weights).digest(),
        )
    )


def whole(hospital, task_id):
    """Return what a hospital hid under its mask: its update, and its counts."""
    kept = hospital.shelf.find(f"{task_id}/summand")
    numbers = np.frombuffer(hospital.shelf.chunk(kept, 0, kept.size), "<i4")
    return numbers[:-400], numbers[-400:]


def test_three_hospitals_train_and_the_coordinator_sees_the_sum_alone(tmp_path, runner):
    signer = Signer(Ed25519PrivateKey.generate())
    sites = acquainted(tmp_path, runner, ("a", "b", "c"), signer.public)
    for number, hospital in enumerate(sites.values()):
        hospital.now = datetime.now(UTC)
        hospital.admit_images(40 + 10 * number)
    raw = a_bundle(tmp_path, manifest=SUMMED)
    results = {}

    def live(federation, tokens):
        with (
            running(sites["a"], "a", tokens["a"]) as one,
            running(sites["b"], "b", tokens["b"]) as two,
            running(sites["c"], "c", tokens["c"]) as three,
            Client(federation.credential) as client,
        ):
            wait(lambda: one.is_connected and two.is_connected and three.is_connected)
            job_id = submitted(client, raw, signer)
            wait(lambda: client.job(job_id).job.stage in ("finished", "failed", "stopped"), 90)
            results["job"] = client.job(job_id)
            results["model"] = b"".join(client.result(job_id))

    async def story():
        async with a_federation(tmp_path / "hub") as federation:
            tokens = {name: await federation.invited(name) for name in sites}
            await asyncio.to_thread(live, federation, tokens)
            entries = federation.coordinator.rooms.audit.entries()
            results["events"] = [e["event"] for e in entries]

    asyncio.run(story())

    shown = results["job"]
    assert shown.job.stage == "finished", shown
    print(shown, results["events"])
    model = tensors.decode(results["model"], SCHEMA)["w"]
    print(model)
