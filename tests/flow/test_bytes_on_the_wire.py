"""What a proxy reads on the wire is what the ledger says: to the byte, framing apart."""

import asyncio
import json
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from threading import Event, Thread

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator.api.client import Federation as Client
from gateway.config import GatewayConfig
from gateway.link.credentials import COORDINATOR, Credentials
from gateway.link.enrol import enrol
from gateway.link.link import Link
from gateway.policy import Jobs, Policy, StandingRule, Vendor
from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner
from protos import bundle, tensors
from protos.v1.federation_pb2 import SubmitJobRequest
from protos.v1.question_pb2 import COUNT_UNIT_PATIENTS, Question
from tests.fakes.brightness import SCHEMA, Signer, a_bundle
from tests.fakes.capturing_proxy import a_capturing_proxy, hospitals_way
from tests.fakes.federation import a_federation
from tests.fakes.hospital import Hospital
from tests.fakes.linked import QUICK, wait

pytestmark = pytest.mark.flow
KINDS = {"hello", "answer", "decision", "outcome", "fetch", "held", "chunk"}


@contextmanager
def behind_a_proxy(hospital, site, token, federation):
    """Run a hospital whose every byte to the coordinator passes a proxy that reads it."""
    config = GatewayConfig(site=site, data=hospital.directory)
    credentials = enrol(token, config, hospital.gate, "1.0", "admin")
    way = hospitals_way(credentials.roots_file, credentials.chain_file, credentials.key_file)
    keys = federation.directory / "keys"
    with a_capturing_proxy(federation.address, keys, way) as proxy:
        (credentials.directory / COORDINATOR).write_text(json.dumps({"address": proxy.address}))
        credentials = Credentials.load(credentials.directory)
        link = Link(
            credentials, QUICK, hospital.gate, hospital.desk, hospital.directory / "link", "1.0"
        )
        stop = Event()
        rooms = [Thread(target=room.run, args=(stop,)) for room in (hospital.desk, link)]
        for room in rooms:
            room.start()
        try:
            wait(lambda: link.is_connected)
            yield proxy
        finally:
            stop.set()
            for room in rooms:
                room.join(15)


def test_a_proxy_on_the_wire_sees_what_the_ledgers_hold(tmp_path):
    signer = Signer(Ed25519PrivateKey.generate())
    jobs = Jobs(
        vendors=(Vendor(name="acme", public_key=signer.public.hex()),),
        standing=(StandingRule(vendor="acme", max_leakage_bits=50_000),),
    )
    runner = Runner.on_this_machine(Limits(memory_bytes=2 << 30))
    sites = {name: Hospital(tmp_path / name, runner, Policy(jobs=jobs)) for name in ("a", "b")}
    for hospital in sites.values():
        hospital.now = datetime.now(UTC)
        hospital.admit_images(60)
    raw, weights = a_bundle(tmp_path), tensors.encode({"w": np.zeros(2)}, SCHEMA)
    seen = {}

    async def story():
        async with a_federation(tmp_path / "hub") as federation:
            tokens = {name: await federation.invited(name) for name in sites}
            await asyncio.to_thread(live, federation, tokens)

    def live(federation, tokens):
        with (
            behind_a_proxy(sites["a"], "a", tokens["a"], federation) as one,
            behind_a_proxy(sites["b"], "b", tokens["b"], federation) as two,
            Client(federation.credential) as client,
        ):
            list(
                client.ask(Question(project="test", unit=COUNT_UNIT_PATIENTS), deadline_seconds=20)
            )
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
            wait(lambda: client.job(job_id).job.stage in ("finished", "failed", "stopped"), 120)
            seen["job"] = client.job(job_id)
        seen.update(a=one.messages(), b=two.messages())

    asyncio.run(story())

    assert seen["job"].job.stage == "finished", seen["job"].reason
    for name, hospital in sites.items():
        entries = [entry for entry in hospital.ledger.entries() if entry.kind != "enrolment"]
        sent = [hospital.ledger.payload(entry) for entry in entries]
        assert {entry.kind for entry in entries} >= KINDS
        assert sum(map(len, seen[name])) == sum(entry.size for entry in entries)
        assert sorted(seen[name]) == sorted(sent)
