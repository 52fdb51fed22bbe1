"""Jobs, from a vendor's bundle to the aggregated model, with two hospitals that only pretend."""

import asyncio
from datetime import UTC, datetime
from textwrap import dedent

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as write_tensors

from coordinator.api.client import Credential
from coordinator.app.process import Coordinator
from coordinator.app.setup import issue_person
from coordinator.config import load
from coordinator.errors import InvalidRequest, NotFound, Refused
from protos.bundle import digest, pack, sign
from protos.identity import Role
from protos.scores import BINS
from protos.v1.federation_pb2 import SubmitJobRequest
from protos.v1.job_pb2 import Decision, JobDecision, ScoreHistogram, TaskOutcome, TaskState
from tests.fakes.federation import a_federation, connected

pytestmark = pytest.mark.flow

MANIFEST = """\
name = "lesions"
kind = "{kind}"
purpose = "A test."
label = "lesion"
rounds = {rounds}
[[cohort]]
field = "Modality"
values = ["CT"]
[weights.w]
shape = [3]
"""


def a_bundle(tmp_path, rounds: int = 2, kind: str = "training"):
    folder = tmp_path / "bundle"
    folder.mkdir(exist_ok=True)
    (folder / "job.py").write_text(dedent("def train(cohort, weights, config): return weights\n"))
    (folder / "job.toml").write_text(MANIFEST.format(rounds=rounds, kind=kind))
    return pack(folder)


def submission(raw: bytes, key: Ed25519PrivateKey) -> SubmitJobRequest:
    return SubmitJobRequest(
        bundle_digest=digest(raw),
        vendor_key=key.public_key().public_bytes_raw(),
        vendor_signature=sign(raw, key),
    )


def submit(raw: bytes, key: Ed25519PrivateKey | None = None):
    def call(client) -> str:
        client.upload(raw)
        return client.submit(submission(raw, key or Ed25519PrivateKey.generate()))

    return call


def moving_by(step: float, weight: float):
    """A hospital whose update moves each value by `step`."""

    def work(_gateway, task, _weights):
        outcome = TaskOutcome(state=TaskState.TASK_STATE_RELEASED, weight=weight, leakage_bits=12.5)
        outcome.validation.CopyFrom(a_histogram())
        if task.evaluate_only:
            return outcome, b""
        return outcome, write_tensors({"w": np.full(3, step, np.float32)})

    return work


def a_histogram() -> ScoreHistogram:
    positives, negatives = np.zeros(BINS, int), np.zeros(BINS, int)
    positives[120:140] = 1
    negatives[90:125] = 1
    return ScoreHistogram(positives=positives, negatives=negatives)


async def over(federation, job_id: str, seconds: float = 20.0):
    for _ in range(int(seconds / 0.1)):
        shown = await federation.asked(lambda c: c.job(job_id))
        if shown.job.stage in {"finished", "failed", "stopped"}:
            return shown
        await asyncio.sleep(0.1)
    raise AssertionError(f"the job is still {shown}")


def test_a_model_moves_by_the_weighted_mean_of_its_hospitals(tmp_path, tables_in):
    async def story():
        async with a_federation(tmp_path / "c", tables_in) as federation:
            alpha, beta = [await federation.enrolled(name) for name in ("alpha", "beta")]
            alpha.working, beta.working = moving_by(1.0, 30), moving_by(4.0, 10)

            async with connected(alpha, beta):
                job_id = await federation.asked(submit(a_bundle(tmp_path)))
                shown = await over(federation, job_id)
                model = await federation.asked(lambda c: b"".join(c.result(job_id)))

            assert shown.job.stage == "finished", shown
            # (1 x 30 + 4 x 10) / 40 in each of two rounds, from zeros.
            assert read_tensors(model)["w"] == pytest.approx([3.5, 3.5, 3.5])
            assert [part.decision for part in shown.sites] == [Decision.DECISION_APPROVED] * 2
            # Two rounds of training, and the final model measured once more.
            assert [figure.round for figure in shown.pooled] == [1, 2, 3]
            assert all(0.5 < figure.auc_low < figure.auc < 1 for figure in shown.pooled)
            assert all(part.auc > 0.8 and part.leakage_bits == 12.5 for part in shown.rounds)
            withdrawn = [m for m in alpha.seen if m.HasField("withdrawal")]
            assert [m.withdrawal.job_id for m in withdrawn] == [job_id]

    asyncio.run(story())


def test_an_evaluation_asks_for_figures_and_no_updates(tmp_path):
    async def story():
        async with a_federation(tmp_path / "c") as federation:
            alpha, beta = [await federation.enrolled(name) for name in ("alpha", "beta")]
            alpha.working, beta.working = moving_by(1.0, 30), moving_by(4.0, 10)

            async with connected(alpha, beta):
                raw = a_bundle(tmp_path, rounds=1, kind="evaluation")
                job_id = await federation.asked(submit(raw))
                shown = await over(federation, job_id)

            assert shown.job.stage == "finished"
            assert [figure.round for figure in shown.pooled] == [1]
            tasks = [m.round_task for m in alpha.seen if m.HasField("round_task")]
            assert [task.evaluate_only for task in tasks] == [True]

    asyncio.run(story())


def test_a_hospital_that_rejects_is_not_asked_and_too_few_end_the_job(tmp_path):
    async def story():
        async with a_federation(tmp_path / "c") as federation:
            alpha, beta = [await federation.enrolled(name) for name in ("alpha", "beta")]
            alpha.working = moving_by(1.0, 30)
            beta.deciding = lambda offer: JobDecision(
                job_id=offer.job_id, decision=Decision.DECISION_REJECTED, rule="steward"
            )

            async with connected(alpha, beta):
                job_id = await federation.asked(submit(a_bundle(tmp_path)))
                shown = await over(federation, job_id)

            assert (shown.job.stage, shown.reason) == (
                "failed",
                "1 of 2 needed hospitals approved",
            )
            assert not [m for m in alpha.seen + beta.seen if m.HasField("round_task")]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("update", "code"),
    [
        (write_tensors({"w": np.full(3, np.nan, np.float32)}), "malformed_update"),
        (write_tensors({"w": np.zeros(4, np.float32)}), "malformed_update"),
        (b"\x80\x04pickle", "malformed_update"),
    ],
)
def test_an_update_that_cannot_be_is_named_and_the_round_goes_on(tmp_path, update, code):
    async def story():
        async with a_federation(tmp_path / "c", "") as federation:
            names = ("alpha", "beta", "gamma")
            gateways = [await federation.enrolled(name) for name in names]
            for gateway in gateways[:2]:
                gateway.working = moving_by(2.0, 10)
            gateways[2].working = lambda _gateway, task, _weights: (
                TaskOutcome(state=TaskState.TASK_STATE_RELEASED, weight=5),
                b"" if task.evaluate_only else update,
            )

            async with connected(*gateways):
                job_id = await federation.asked(submit(a_bundle(tmp_path, rounds=1)))
                shown = await over(federation, job_id)
                model = await federation.asked(lambda c: b"".join(c.result(job_id)))

            assert shown.job.stage == "finished"
            parts = {(part.site, part.round): part for part in shown.rounds}
            assert parts["gamma", 1].code == code
            assert read_tensors(model)["w"] == pytest.approx([2.0] * 3)

    asyncio.run(story())


def test_a_round_goes_on_without_a_hospital_that_misses_its_deadline(tmp_path):
    async def story():
        async with a_federation(tmp_path / "c") as federation:
            gateways = [await federation.enrolled(name) for name in ("alpha", "beta", "gamma")]
            for gateway in gateways[:2]:
                gateway.working = moving_by(2.0, 10)

            async with connected(*gateways):
                job_id = await federation.asked(submit(a_bundle(tmp_path, rounds=1)))
                await asyncio.sleep(1.0)
                gateways[2].working = moving_by(0.0, 1)
                federation.days_pass(1.01)
                shown = await over(federation, job_id)

            assert shown.job.stage == "finished"
            parts = {(part.site, part.round): part.state for part in shown.rounds}
            assert parts["gamma", 1] == TaskState.TASK_STATE_UNSPECIFIED

    asyncio.run(story())


def test_a_cut_push_resumes_where_it_ended(tmp_path):
    async def story():
        async with a_federation(tmp_path / "c") as federation:
            alpha, beta = [await federation.enrolled(name) for name in ("alpha", "beta")]
            update = write_tensors({"w": np.ones(3, np.float32), "pad": np.zeros(300_000)})
            async with connected(alpha, beta):
                await federation.asked(submit(a_bundle(tmp_path)))
                for _ in range(100):
                    if tasks := [m for m in alpha.seen if m.HasField("round_task")]:
                        break
                    await asyncio.sleep(0.05)
                task = tasks[0].round_task.task_id

                limit = (1 << 20) + 2 * tasks[0].round_task.weights_size
                whole = update[:limit]
                held = await alpha.push(task, whole, stop_after=1)
                known = await alpha.held(task, whole)

                assert 0 < held == known <= len(whole)
                assert await alpha.push(task, whole) == len(whole)

                import grpc

                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await beta.push(task, whole)
                assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED

    asyncio.run(story())


def test_a_bundle_its_vendor_did_not_sign_reaches_no_hospital(tmp_path):
    async def story():
        async with a_federation(tmp_path / "c") as federation:
            alpha = await federation.enrolled("alpha")
            raw = a_bundle(tmp_path)

            def forged(client):
                client.upload(raw)
                request = submission(raw, Ed25519PrivateKey.generate())
                request.vendor_key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
                return client.submit(request)

            def absent(client):
                return client.submit(submission(raw + b"x", Ed25519PrivateKey.generate()))

            def hostile(client):
                junk = b"not an archive" * 100
                client.upload(junk)
                return client.submit(submission(junk, Ed25519PrivateKey.generate()))

            async with connected(alpha):
                for call, fault in (
                    (forged, Refused),
                    (absent, NotFound),
                    (hostile, InvalidRequest),
                ):
                    with pytest.raises(fault):
                        await federation.asked(call)

            assert not [m for m in alpha.seen if m.HasField("job_offer")]

    asyncio.run(story())


def test_a_vendor_sees_its_own_jobs_and_may_not_ask_questions(tmp_path):
    async def story():
        async with a_federation(tmp_path / "c") as federation:
            alpha = await federation.enrolled("alpha")
            settings = tmp_path / "c" / "coordinator.toml"
            ours, theirs = (
                Credential.load(
                    issue_person(
                        settings, Role.VENDOR, name, name, tmp_path / name, datetime.now(UTC)
                    )
                )
                for name in ("acme", "rival")
            )
            async with connected(alpha):
                job_id = await federation.asked(submit(a_bundle(tmp_path)), ours)

                mine = await federation.asked(lambda c: c.jobs(), ours)
                others = await federation.asked(lambda c: c.jobs(), theirs)
                operators = await federation.asked(lambda c: c.jobs())
                with pytest.raises(NotFound):
                    await federation.asked(lambda c: c.stop(job_id), theirs)
                with pytest.raises(Refused):
                    await federation.asked(lambda c: c.sites(), ours)

            assert [job.job_id for job in mine] == [job.job_id for job in operators] == [job_id]
            assert not others

    asyncio.run(story())


def test_a_stopped_job_is_withdrawn_everywhere_and_stays_stopped(tmp_path):
    async def story():
        async with a_federation(tmp_path / "c") as federation:
            alpha, beta = [await federation.enrolled(name) for name in ("alpha", "beta")]
            async with connected(alpha, beta):
                job_id = await federation.asked(submit(a_bundle(tmp_path)))
                await asyncio.sleep(0.3)

                await federation.asked(lambda c: c.stop(job_id))
                shown = await over(federation, job_id)
                await asyncio.sleep(0.3)

            assert (shown.job.stage, shown.reason) == ("stopped", "stopped by operator")
            for gateway in (alpha, beta):
                assert [m for m in gateway.seen if m.HasField("withdrawal")]

    asyncio.run(story())


def test_a_restarted_coordinator_takes_up_the_same_round(tmp_path, tables_in):
    async def story():
        async with a_federation(tmp_path / "c", tables_in) as federation:
            alpha, beta = [await federation.enrolled(name) for name in ("alpha", "beta")]
            alpha.working = moving_by(1.0, 10)
            async with connected(alpha, beta):
                job_id = await federation.asked(submit(a_bundle(tmp_path, rounds=1)))
                await asyncio.sleep(1.0)
                asked = [m.round_task.task_id for m in beta.seen if m.HasField("round_task")]

                await federation.coordinator.stop()
                federation.coordinator = Coordinator(load(tmp_path / "c" / "coordinator.toml"))
                await federation.coordinator.start()
                beta.working = moving_by(3.0, 10)
                shown = await over(federation, job_id)
                model = await federation.asked(lambda c: b"".join(c.result(job_id)))

            again = [m.round_task.task_id for m in beta.seen if m.HasField("round_task")]
            assert asked == again[:1] == again[1:2]
            assert shown.job.stage == "finished"
            assert read_tensors(model)["w"] == pytest.approx([2.0] * 3)

    asyncio.run(story())
