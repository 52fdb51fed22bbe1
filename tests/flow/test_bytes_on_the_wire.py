"""What a proxy reads on the wire is what the ledger says: to the byte, framing apart."""

import asyncio
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from threading import Event, Thread

import grpc
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator.api.client import Federation as Client
from deploy.demo.balance import on_the_wire, weigh
from deploy.demo.header_fields import OddFields
from deploy.demo.proxy import CapturingProxy, as_coordinator, as_guest, as_hospital
from deploy.demo.wire import read_all
from gateway.config import GatewayConfig
from gateway.link.channel import open_channel
from gateway.link.credentials import Credentials
from gateway.link.enrol import enrol
from gateway.link.link import Link
from gateway.link.proxy import proxy_for
from gateway.policy import Jobs, Policy, StandingRule, Vendor
from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner
from protos import bundle, tensors
from protos.v1.federation_pb2 import SubmitJobRequest
from protos.v1.link_pb2 import HeldRequest
from protos.v1.question_pb2 import COUNT_UNIT_PATIENTS, Question
from tests.fakes.brightness import SCHEMA, Signer, a_bundle
from tests.fakes.federation import a_federation
from tests.fakes.hospital import Hospital
from tests.fakes.linked import QUICK, wait

pytestmark = pytest.mark.flow
KINDS = {"enrolment", "hello", "answer", "decision", "outcome", "fetch", "held", "chunk"}


@contextmanager
def behind_a_proxy(hospital, site, token, federation):
    """Run a hospital whose every byte to the coordinator passes a proxy that reads it."""
    keys = federation.directory / "keys"

    def onward():
        if not (chain := config.keys_dir / "gateway.crt").exists():
            return as_guest(token)
        roots = (config.keys_dir / "roots.crt").read_text()
        return as_hospital(roots, chain, config.keys_dir / "gateway.key")

    proxy = CapturingProxy(hospital.directory / "wire", lambda: as_coordinator(keys), onward)
    way = QUICK.model_copy(update={"proxy": f"http://{proxy.address}"})
    config = GatewayConfig(site=site, data=hospital.directory, federation=way)
    proxy.start()
    try:
        credentials = enrol(token, config, hospital.gate, "1.0", "admin")
        link = Link(
            credentials, way, hospital.gate, hospital.desk, hospital.directory / "link", "1.0"
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
    finally:
        proxy.stop()


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
        seen.update(a=read_all(one.said()), b=read_all(two.said()))

    asyncio.run(story())

    assert seen["job"].job.stage == "finished", seen["job"].reason
    for name, hospital in sites.items():
        entries = list(hospital.ledger.entries())
        sent = [hospital.ledger.payload(entry) for entry in entries]
        assert {entry.kind for entry in entries} >= KINDS
        assert seen[name].bytes_carried == sum(entry.size for entry in entries)
        assert sorted(seen[name].messages) == sorted(sent)
        assert not seen[name].parts


class Watched:
    """A hospital as the demo's balance sees it."""

    def __init__(self, site, hospital, proxy):
        self.site, self.proxy = site, proxy
        self._hospital = hospital

    def ledger(self):
        return [(entry.size, entry.digest.hex()) for entry in self._hospital.ledger.entries()]

    def says_past_its_gate(self, body, metadata=()):
        """Send what no gate released, by the hospital's own certificate and its own proxy."""
        credentials = Credentials.load(self._hospital.directory / "keys")
        way = proxy_for(f"http://{self.proxy.address}", credentials.address)
        with open_channel(credentials, way) as channel:
            call = channel.unary_unary("/radfed.v1.LinkService/Held")
            with pytest.raises(grpc.RpcError):  # there is no such task
                call(body, metadata=metadata, timeout=10)


def test_what_goes_past_the_ledger_is_seen_on_the_wire(tmp_path):
    hospital = Hospital(tmp_path / "a")
    record = tmp_path / "hub" / "record"

    async def story():
        async with a_federation(tmp_path / "hub", '[record]\ndirectory = "record"') as federation:
            token = await federation.invited("a")
            await asyncio.to_thread(live, federation, token)

    def live(federation, token):
        with behind_a_proxy(hospital, "a", token, federation) as proxy:
            watched = Watched("a", hospital, proxy)
            honest = weigh(record, watched, undisturbed=True)

            watched.says_past_its_gate(HeldRequest(task_id="0" * 32).SerializeToString())
            smuggled = weigh(record, watched, undisturbed=True)
            watched.says_past_its_gate(b"", metadata=(("patient", "Doe^John"),))

            assert honest.is_even
            assert honest.ledger == honest.wire > 0
            assert smuggled.strangers == 1
            assert not smuggled.is_even
            assert not smuggled.could_be_cut  # no crash explains it
            with pytest.raises(OddFields):
                on_the_wire(watched)

    asyncio.run(story())
