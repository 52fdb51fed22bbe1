"""A training round whose updates nobody sees: real gateways, a real coordinator, real gRPC."""

import asyncio
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator.api.client import Federation as Client
from coordinator.errors import InvalidRequest
from coordinator.link.record import frames
from coordinator.training.card_checking import check_card, recompute
from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner
from protos import bundle, tensors
from protos.sums import grid_of
from protos.v1.federation_pb2 import SubmitJobRequest
from protos.v1.sum_pb2 import SumKeys
from tests.fakes.brightness import JOB_TOML, SCHEMA, Signer, a_bundle
from tests.fakes.federation import a_federation
from tests.fakes.linked import running, wait
from tests.fakes.summing import acquainted, summand

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


def test_three_hospitals_train_and_the_coordinator_sees_the_sum_alone(tmp_path, runner):
    signer = Signer(Ed25519PrivateKey.generate())
    sites = acquainted(tmp_path, runner, ("a", "b", "c"), signer.public)
    for number, hospital in enumerate(sites.values()):
        hospital.now = datetime.now(UTC)
        hospital.admit_images(40 + 10 * number)
    raw = a_bundle(tmp_path, manifest=SUMMED)
    results, recording = {}, tmp_path / "recording"

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
            results["card"] = client.report(job_id)

    async def story():
        extra = f'[record]\ndirectory = "{recording}"\n'
        async with a_federation(tmp_path / "hub", extra) as federation:
            tokens = {name: await federation.invited(name) for name in sites}
            await asyncio.to_thread(live, federation, tokens)
            entries = federation.coordinator.rooms.audit.entries()
            results["tasks"] = await federation.coordinator.rooms.rounds.tasks(
                results["job"].job.job_id
            )
            results["events"] = [e["event"] for e in entries]

    asyncio.run(story())

    shown = results["job"]
    assert shown.job.stage == "finished", shown
    model = tensors.decode(results["model"], SCHEMA)["w"]
    assert model[0] > 0.5  # brighter means a finding
    tasks = {(part.round, part.site): part.task_id for part in results["tasks"]}
    parts = {site: summand(hospital, tasks[1, site]) for site, hospital in sites.items()}
    weights = {site: SumKeys.FromString(h.sum_book.find(tasks[1, site]).keys).weight
               for site, h in sites.items()}  # fmt: skip
    exact = sum(weights[site] * update for site, (update, _) in parts.items())
    scale = grid_of(1.0, 0.01, 2).scale
    assert np.array_equal(model, (exact / (scale * sum(weights.values()))).astype(np.float32))
    card = check_card(*results["card"], {})
    assert card.is_summed
    assert all(part.signature for each in card.rounds for part in each.parts)
    with pytest.raises(InvalidRequest):
        recompute(card, lambda _: None, lambda *_: None)
    # The federation has a figure of all, and none of one hospital.
    assert shown.pooled[-1].auc > 0.9
    assert not any(part.auc for part in shown.rounds)
    assert results["events"].count("sum_opened") == 2  # the round, and the final measure
    for site, hospital in sites.items():
        received = [m for role in ("invitation", "gateway")
                    for _, m in frames(recording / f"{role}.{site}.bin")]  # fmt: skip
        kept = [
            hospital.ledger.payload(entry)
            for entry in hospital.ledger.entries()
            if entry.kind != "summand"
        ]
        assert sorted(kept) == sorted(received)
        bare = parts[site][0].astype("<i4").tobytes()
        assert not any(bare in message for message in received)
        hospital.ledger.verify()
        hospital.audit.verify()
        assert [a.unbounded for a in hospital.bits.accounts()] == [0]
