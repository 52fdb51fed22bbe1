"""The adding side of secure sums over the wire: late and lost hospitals, restarts, broken sums."""

import asyncio

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from safetensors.numpy import load as read_tensors

from coordinator.app.process import Coordinator
from coordinator.config import load
from protos.bundle import digest, sign
from protos.scores import BINS
from protos.sums import grid_of
from protos.v1.federation_pb2 import SubmitJobRequest
from tests.fakes.brightness import a_bundle
from tests.fakes.federation import a_federation, connected
from tests.fakes.summing_gateway import SummingGateway

pytestmark = pytest.mark.flow
MANIFEST = """\
name = "lesions"
kind = "training"
purpose = "A test."
label = "lesion"
sum = "secure"
rounds = {rounds}
clip = 1.0
[[cohort]]
field = "Modality"
values = ["CT"]
[weights.w]
shape = [3]
"""
NAMES = ("a", "b", "c", "d", "e")
SCALE = grid_of(1.0, 0.0, 3).scale


async def a_house(federation, names=NAMES):
    """Enrol hospitals that pinned each other; each adds numbers of its own."""
    houses = {name: SummingGateway.of(await federation.enrolled(name)) for name in names}
    pinned = {n: g.identity.public_key().public_bytes_raw() for n, g in houses.items()}
    for number, gateway in enumerate(houses.values(), 1):
        counts = np.zeros(2 * BINS, np.int64)
        counts[120 + number] = counts[BINS + 90 + number] = 10
        gateway.pinned, gateway.values, gateway.weight = pinned, 3, 10 * number
        gateway.numbers = np.concatenate([np.array([1, -2, 100]) * 1000 * number, counts])
    return houses


def submitted(tmp_path, rounds=1):
    raw = a_bundle(tmp_path, manifest=MANIFEST.format(rounds=rounds))
    key = Ed25519PrivateKey.generate()

    def call(client):
        client.upload(raw)
        return client.submit(
            SubmitJobRequest(
                bundle_digest=digest(raw),
                vendor_key=key.public_key().public_bytes_raw(),
                vendor_signature=sign(raw, key),
            )
        )

    return call


async def over(federation, job_id, seconds=20.0):
    async with asyncio.timeout(seconds):
        while True:
            shown = await federation.asked(lambda c: c.job(job_id))
            if shown.job.stage in {"finished", "failed", "stopped"}:
                return shown
            await asyncio.sleep(0.1)


async def until(claim, seconds=10.0):
    async with asyncio.timeout(seconds):
        while not claim():  # noqa: ASYNC110 - what is waited for knows no event
            await asyncio.sleep(0.05)


def mean_of(houses, *names):
    """Return the weighted mean of what hospitals add, in the model's own units."""
    chosen = [houses[name] for name in names]
    total = sum(gateway.weight * gateway.numbers[:3] for gateway in chosen)
    exact = total / (SCALE * sum(gateway.weight for gateway in chosen))
    return exact.astype(np.float32)


def told(gateway, step):
    sums = [m.sum for m in gateway.seen if m.WhichOneof("body") == "sum"]
    return [one for one in sums if one.WhichOneof("step") == step]


def codes(shown, number=1):
    return {part.site: part.code for part in shown.rounds if part.round == number and part.code}


def test_all_hospitals_numbers_and_nothing_else(tmp_path, tables_in):
    async def story():
        async with a_federation(tmp_path / "c", tables_in) as federation:
            houses = await a_house(federation)
            async with connected(*houses.values()):
                job_id = await federation.asked(submitted(tmp_path, rounds=2))
                shown = await over(federation, job_id)
                model = await federation.asked(lambda c: b"".join(c.result(job_id)))

            assert shown.job.stage == "finished", shown
            mean = mean_of(houses, *NAMES)
            assert read_tensors(model)["w"] == pytest.approx(2 * mean, rel=1e-6)
            assert [figure.round for figure in shown.pooled] == [1, 2, 3]
            assert all(figure.auc == 1.0 for figure in shown.pooled)

    asyncio.run(story())


@pytest.mark.parametrize("step", ["masked", "consent", "unmasking"])
def test_a_hospital_that_falls_silent_costs_its_own_part_at_the_most(tmp_path, step):
    async def story():
        async with a_federation(tmp_path / "c") as federation:
            houses = await a_house(federation)
            houses["c"].silent_at = {1: step}
            async with connected(*houses.values()):
                job_id = await federation.asked(submitted(tmp_path))
                if step == "masked":
                    await until(lambda: told(houses["c"], "shares"))
                    await asyncio.sleep(1.0)
                    federation.days_pass(1.01)  # the round's deadline
                elif step == "consent":
                    await until(lambda: told(houses["c"], "survivors"))
                    await asyncio.sleep(1.0)
                    federation.days_pass(0.2)  # as long as a step is waited for, and more
                shown = await over(federation, job_id)
                model = await federation.asked(lambda c: b"".join(c.result(job_id)))

            assert shown.job.stage == "finished", shown
            inside = NAMES if step != "masked" else ("a", "b", "d", "e")
            assert np.array_equal(read_tensors(model)["w"], mean_of(houses, *inside))

    asyncio.run(story())


def test_who_enters_too_late_is_named_and_not_awaited(tmp_path):
    async def story():
        async with a_federation(tmp_path / "c") as federation:
            houses = await a_house(federation)
            houses["b"].silent_at = {1: "keys"}
            houses["e"].silent_at = {}
            async with connected(*houses.values()):
                job_id = await federation.asked(submitted(tmp_path))
                await until(lambda: len(houses["a"].rounds) == 1)
                await asyncio.sleep(1.0)
                federation.days_pass(0.992)  # within the last quarter of an hour of the round
                shown = await over(federation, job_id)
                model = await federation.asked(lambda c: b"".join(c.result(job_id)))

            assert shown.job.stage == "finished", shown
            assert codes(shown) == {"b": "sum_late"}
            assert np.array_equal(read_tensors(model)["w"], mean_of(houses, "a", "c", "d", "e"))

    asyncio.run(story())


def test_a_sum_that_does_not_open_is_named_and_the_next_round_goes_on(tmp_path):
    async def story():
        async with a_federation(tmp_path / "c") as federation:
            houses = await a_house(federation)
            for name in ("c", "d"):
                houses[name].silent_at = {1: "unmasking"}
            async with connected(*houses.values()):
                job_id = await federation.asked(submitted(tmp_path, rounds=2))
                await until(lambda: told(houses["c"], "transcript"))
                await asyncio.sleep(1.0)
                federation.days_pass(0.2)
                shown = await over(federation, job_id)
                model = await federation.asked(lambda c: b"".join(c.result(job_id)))
            entries = federation.coordinator.rooms.audit.entries()
            broken = [e for e in entries if e["event"] == "sum_unfinished"]

            assert shown.job.stage == "finished", shown
            assert codes(shown) == dict.fromkeys(NAMES, "sum_unfinished")
            assert codes(shown, 2) == {}
            # The second round began with the first one's model, and moved it once.
            assert np.array_equal(read_tensors(model)["w"], mean_of(houses, *NAMES))
            assert len(broken) == 1

    asyncio.run(story())


@pytest.mark.parametrize("step", ["shares", "survivors"])
def test_a_coordinator_killed_in_the_middle_of_a_sum_finishes_it(tmp_path, step):
    async def story():
        async with a_federation(tmp_path / "c") as federation:
            houses = await a_house(federation)
            late = houses["d"]
            held = {"shares": "masked", "survivors": "consent"}[step]
            late.silent_at = {1: held}
            async with connected(*houses.values()):
                job_id = await federation.asked(submitted(tmp_path))
                await until(lambda: told(late, step))
                await federation.coordinator.stop()
                late.silent_at = {}
                federation.coordinator = Coordinator(load(tmp_path / "c" / "coordinator.toml"))
                await federation.coordinator.start()
                shown = await over(federation, job_id)
                model = await federation.asked(lambda c: b"".join(c.result(job_id)))

            assert shown.job.stage == "finished", shown
            assert np.array_equal(read_tensors(model)["w"], mean_of(houses, *NAMES))
            # It was told again, on its new line; and once more in the round that measures.
            tasks = [call.task_id for call in told(late, step)]
            assert len(tasks) == 3
            assert tasks[0] == tasks[1] != tasks[2]

    asyncio.run(story())


def test_steps_of_others_and_malformed_ones_change_nothing(tmp_path):
    async def story():
        from protos.v1.sum_pb2 import SumConsent, SumReport

        async with a_federation(tmp_path / "c") as federation:
            houses = await a_house(federation)
            houses["a"].silent_at = {1: "keys"}
            async with connected(*houses.values()):
                job_id = await federation.asked(submitted(tmp_path))
                await until(lambda: houses["a"].rounds and houses["b"].rounds)
                (mine,), (others,) = houses["a"].rounds, houses["b"].rounds
                forged = houses["b"].rounds[others]["keys"]
                for lie in (
                    SumReport(task_id=mine, keys=forged),  # in another's name
                    SumReport(task_id=others, keys=forged),  # on another's task
                    SumReport(task_id=mine, consent=SumConsent(signature=b"short")),
                    SumReport(task_id=mine),
                    SumReport(task_id="no such task", keys=forged),
                ):
                    houses["a"].say(sum=lie)
                houses["a"].silent_at = {}
                houses["a"]._tell(mine, keys=houses["a"].rounds[mine]["keys"])
                shown = await over(federation, job_id)
            entries = federation.coordinator.rooms.audit.entries()

            assert shown.job.stage == "finished", shown
            refused = [e for e in entries if e["event"] == "sum_step_refused"]
            assert len(refused) == 5
            assert not houses["a"].unsettled

    asyncio.run(story())


def test_a_masked_update_of_another_length_is_named_and_left_out(tmp_path):
    async def story():
        async with a_federation(tmp_path / "c") as federation:
            houses = await a_house(federation)
            houses["d"].numbers = houses["d"].numbers[:-1]
            async with connected(*houses.values()):
                job_id = await federation.asked(submitted(tmp_path))
                shown = await over(federation, job_id)
                model = await federation.asked(lambda c: b"".join(c.result(job_id)))

            assert codes(shown) == {"d": "malformed_update"}
            assert np.array_equal(read_tensors(model)["w"], mean_of(houses, "a", "b", "c", "e"))

    asyncio.run(story())


@pytest.mark.parametrize("wrong", ["update", "counts", "share"])
def test_a_hospital_that_adds_what_cannot_be_spoils_a_round_and_not_the_job(tmp_path, wrong):
    async def story():
        async with a_federation(tmp_path / "c") as federation:
            houses = await a_house(federation)
            foul = houses["d"]
            honest = foul.numbers
            if wrong == "update":
                foul.numbers = np.concatenate([np.full(3, 3 << 24), honest[3:]])
            elif wrong == "counts":
                foul.numbers = np.concatenate([honest[:3], -1 - honest[3:]])
            else:
                foul.spoils = True
            async with connected(*houses.values()):
                job_id = await federation.asked(submitted(tmp_path, rounds=2))
                await until(lambda: told(foul, "survivors"))
                foul.numbers = honest  # its first round is masked, and the second has not begun
                shown = await over(federation, job_id)
                model = await federation.asked(lambda c: b"".join(c.result(job_id)))

            assert shown.job.stage == "finished", shown
            assert codes(shown) == dict.fromkeys(NAMES, "sum_unfinished")
            assert codes(shown, 2) == {}
            assert np.array_equal(read_tensors(model)["w"], mean_of(houses, *NAMES))

    asyncio.run(story())
