"""A model of which most repeats moves once, either way, over a real link; an old peer gets all."""

import asyncio
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator.api.client import Federation as Client
from coordinator.config import load
from coordinator.errors import InvalidRequest, TooLarge, WrongMoment
from coordinator.jobs.transfers import Transfers
from coordinator.store.objects import Objects as Store
from gateway.desk.objects import Objects, Wanted
from gateway.desk.rules import JobStage
from gateway.errors import IntegrityFault
from gateway.policy import Jobs, Policy, StandingRule, Trust, Vendor
from gateway.release.rules import Kind
from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner
from protos import bundle, tensors
from protos.repeats import Span
from protos.tensors import TensorSpec
from protos.v1 import link_pb2
from protos.v1.federation_pb2 import SubmitJobRequest
from tests.fakes.brightness import JOB_PY, JOB_TOML, Signer, a_bundle
from tests.fakes.federation import a_federation
from tests.fakes.hospital import Hospital
from tests.fakes.linked import running, wait

pytestmark = pytest.mark.flow
MB = 1_000_000
SCHEMA = {
    "w": TensorSpec(shape=(2,)),
    "frozen": TensorSpec(shape=(MB,)),  # 4 MB of zeros
    "tied": TensorSpec(shape=(MB // 2,)),  # 2 MB, and the same once more, twice
    "tied_too": TensorSpec(shape=(MB // 2,)),
    "tied_again": TensorSpec(shape=(MB // 2,)),
}
MANIFEST = (
    JOB_TOML.replace("rounds = 3", "rounds = 1").replace("sigma = 0.01", "sigma = 0")
    + "".join(
        f"weights.{name} = {{ shape = [{spec.shape[0]}] }}\n"
        for name, spec in SCHEMA.items()
        if name != "w"
    )
)  # fmt: skip
CODE = JOB_PY.replace(
    'return {"w": w.astype(np.float32)}', 'return {**weights, "w": w.astype(np.float32)}'
)


def a_model():
    own = np.random.default_rng(1).normal(size=MB // 2).astype(np.float32)
    return tensors.encode(
        {"w": np.zeros(2), "frozen": np.zeros(MB), "tied": own, "tied_too": own, "tied_again": own},
        SCHEMA,
    )


class Offered:
    """The rounds, as much of them as a fetch asks."""

    async def may_fetch(self, _site, _digest):
        return True


def fetched(tmp_path, content, **asked):
    """Return what a gateway takes of an object, and how many bytes came for it."""
    store, digest = Store(tmp_path / "centre"), sha256(content).digest()
    store.add(content)
    transfers = Transfers(store, Offered(), 1 << 30, lambda _task: None)
    objects, wanted = Objects(tmp_path / "hospital"), Wanted(digest, len(content))
    came = 0

    async def stretch():
        nonlocal came
        request = link_pb2.FetchRequest(digest=digest, offset=objects.held(wanted), **asked)
        async for part in transfers.fetch("tongji", request):
            if isinstance(part, Span):
                repeat = link_pb2.Repeat(source=part.source, length=part.length)
                said = link_pb2.FetchResponse(repeat=repeat)
                objects.repeat(wanted, part.source, part.length)
            else:
                said = link_pb2.FetchResponse(chunk=part)
                objects.append(wanted, part)
            came += said.ByteSize()

    while objects.held(wanted) < len(content):
        asyncio.run(stretch())
    objects.finish(wanted)
    return objects.read(digest), came


def test_ten_megabytes_of_which_eight_repeat_come_as_two(tmp_path):
    content = a_model()

    whole, came = fetched(tmp_path / "new", content, repeats=True)
    pieces, in_pieces = fetched(
        tmp_path / "cut", content, repeats=True, length=100_000, chunk_bytes=16_384
    )
    old, to_old = fetched(tmp_path / "old", content)

    assert whole == pieces == old == content
    assert len(content) > 10 * MB
    assert 2 * MB < came < 2.2 * MB
    assert 2 * MB < in_pieces < 2.2 * MB
    assert to_old >= len(content)


def test_neither_house_repeats_what_it_has_not(tmp_path):
    content = bytes(100_000)
    wanted = Wanted(sha256(content).digest(), len(content))
    objects, store = Objects(tmp_path / "hospital"), Store(tmp_path / "centre")
    objects.append(wanted, content[:8192])
    store.append(wanted.digest, "t1", 0, content[:8192], wanted.size)

    for source, length in ((8192, 1), (4097, 1), (0, 91_809), (1 << 62, 1), (0, 0)):
        with pytest.raises(IntegrityFault):
            objects.repeat(wanted, source, length)
    for span, fault in (
        (Span(8192, 1, 8192), InvalidRequest),
        (Span(8192, 91_809, 0), TooLarge),
        (Span(9000, 1, 0), WrongMoment),
    ):
        with pytest.raises(fault):
            store.repeat(wanted.digest, "t1", span, wanted.size)
    assert objects.held(wanted) == store.held(wanted.digest, "t1") == 8192
    # A repeat that is here in part already is taken from where it ended; whole, it changes nothing.
    assert store.repeat(wanted.digest, "t1", Span(4096, 91_904, 0), wanted.size) == 96_000
    assert store.repeat(wanted.digest, "t1", Span(4096, 100, 0), wanted.size) == 96_000
    store.append(wanted.digest, "t1", 96_000, bytes(4000), wanted.size)
    store.publish(wanted.digest, "t1")
    assert store.read(wanted.digest, 0, 1 << 20) == content


def test_a_round_moves_what_is_new_and_the_ledger_says_so(tmp_path):
    signer = Signer(Ed25519PrivateKey.generate())
    jobs = Jobs(
        vendors=(Vendor(name="acme", public_key=signer.public.hex()),),
        standing=(StandingRule(vendor="acme", max_leakage_bits=50_000),),
        allow_no_noise=True,
    )
    policy = Policy(jobs=jobs, trust=Trust(signed_questions=False, reviewers=0))
    runner = Runner.on_this_machine(Limits(memory_bytes=2 << 30))
    site = Hospital(tmp_path / "a", runner, policy)
    site.now = datetime.now(UTC)
    site.admit_images(60)
    raw, weights = a_bundle(tmp_path, CODE, MANIFEST), a_model()
    found = {}

    async def story():
        async with a_federation(tmp_path / "hub") as federation:
            await asyncio.to_thread(live, federation, await federation.invited("a"))

    def live(federation, token):
        with running(site, "a", token) as link, Client(federation.credential) as client:
            wait(lambda: link.is_connected)
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
            wait(lambda: site.book.jobs_at(JobStage.WAITING))
            site.desk.approve(job_id, "Dr. Steward")
            wait(lambda: client.job(job_id).job.stage in ("finished", "failed", "stopped"), 40)
            found["job"] = client.job(job_id)
            found["model"] = b"".join(client.result(job_id))

    asyncio.run(story())

    assert found["job"].job.stage == "finished", found["job"].reason
    before, model = tensors.decode(weights, SCHEMA), tensors.decode(found["model"], SCHEMA)
    assert np.array_equal(model["tied_again"], before["tied_again"])
    assert model["w"][0] > 0
    entries = [entry for entry in site.ledger.entries() if entry.kind == Kind.CHUNK]
    sent = [link_pb2.PushRequest.FromString(site.ledger.payload(entry)) for entry in entries]
    assert sum(entry.size for entry in entries) < 200_000  # of 10 MB: nothing but `w` moved
    assert sum(len(each.chunk) + each.repeat.length for each in sent) == sent[0].size > 10 * MB
    objects = load(tmp_path / "hub" / "coordinator.toml").objects_dir
    kept = Store(objects).path(sent[0].digest)
    assert kept.stat().st_blocks * 512 < 300_000  # zeros are a hole
