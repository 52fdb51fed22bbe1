import asyncio
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator.api.client import Federation as Client
from coordinator.config import load
from coordinator.link.record import frames
from coordinator.training.card_checking import check_card, in_directory, recompute
from gateway.policy import Jobs, Policy, StandingRule, Trust, Vendor
from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner
from protos import bundle, tensors
from protos.v1.federation_pb2 import SubmitJobRequest
from protos.v1.question_pb2 import ANSWER_STATE_VALUE, COUNT_UNIT_PATIENTS, Question
from tests.fakes.brightness import SCHEMA, Signer, a_bundle
from tests.fakes.federation import a_federation
from tests.fakes.hospital import Hospital
from tests.fakes.linked import running, wait

pytestmark = pytest.mark.flow


@pytest.fixture(scope="module")
def runner():
    return Runner.on_this_machine(Limits(memory_bytes=2 << 30))


def test_two_hospitals_answer_and_train_and_every_byte_is_in_their_ledgers(tmp_path, runner):
    signer = Signer(Ed25519PrivateKey.generate())
    jobs = Jobs(
        vendors=(Vendor(name="acme", public_key=signer.public.hex()),),
        standing=(StandingRule(vendor="acme", max_leakage_bits=50_000),),
    )
    policy = Policy(jobs=jobs, trust=Trust(signed_questions=False, reviewers=0))
    sites = {name: Hospital(tmp_path / name, runner, policy) for name in ("a", "b")}
    for hospital in sites.values():
        hospital.now = datetime.now(UTC)
        hospital.admit_images(60)
    raw = a_bundle(tmp_path)
    weights = tensors.encode({"w": np.zeros(2)}, SCHEMA)
    recording = tmp_path / "recording"

    async def story():
        extra = f'[record]\ndirectory = "{recording}"\n'
        async with a_federation(tmp_path / "hub", extra) as federation:
            tokens = {name: await federation.invited(name) for name in sites}
            await asyncio.to_thread(live, federation, tokens)

    def live(federation, tokens):
        with (
            running(sites["a"], "a", tokens["a"]) as one,
            running(sites["b"], "b", tokens["b"]) as two,
            Client(federation.credential) as client,
        ):
            wait(lambda: one.is_connected and two.is_connected)
            question = Question(project="test", unit=COUNT_UNIT_PATIENTS)
            *answers, last = client.ask(question, deadline_seconds=20)
            results["states"] = [a.site_answer.answer.state for a in answers]
            results["total"] = last.total
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
            wait(lambda: client.job(job_id).job.stage in ("finished", "failed", "stopped"), 90)
            results["job"] = client.job(job_id)
            results["model"] = b"".join(client.result(job_id))
            results["card"] = client.report(job_id)

    results = {}
    asyncio.run(story())

    assert results["states"] == [ANSWER_STATE_VALUE] * 2
    assert results["total"].answered == 2
    assert results["job"].job.stage == "finished", results["job"].reason
    model = tensors.decode(results["model"], SCHEMA)["w"]
    assert model[0] > 0.5  # brighter means a finding
    # What the hospitals released, what they were told of it, and the card, are one story.
    keys = {name: hospital.sets.public_key.hex() for name, hospital in sites.items()}
    card = check_card(*results["card"], keys)
    assert sum(part.in_sum for each in card.rounds for part in each.parts if part.signature) == 6
    objects = load(tmp_path / "hub" / "coordinator.toml").objects_dir
    assert recompute(card, in_directory(objects), lambda *_: None) == 3
    for name, hospital in sites.items():
        assert len(hospital.book.transcripts(card.job)) == 3
        events = {event.event for event in hospital.audit.events()}
        assert not events & {"round_chain_broken", "update_left_out"}
        received = [
            message
            for role in ("invitation", "gateway")
            for _, message in frames(recording / f"{role}.{name}.bin")
        ]
        kept = [hospital.ledger.payload(entry) for entry in hospital.ledger.entries()]
        assert sorted(kept) == sorted(received)
        hospital.ledger.verify()
        hospital.audit.verify()
