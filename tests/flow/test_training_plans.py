"""What a training job's plan asks for happens, and its card says so; hospitals only pretend."""

import asyncio
import json
import sqlite3
from contextlib import closing, suppress
from hashlib import sha256
from itertools import pairwise

import numpy as np
import pytest
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as write_tensors
from typer.testing import CliRunner

from coordinator.app.process import Coordinator
from coordinator.cli import job
from coordinator.config import load
from coordinator.errors import IntegrityFault, InvalidRequest
from coordinator.training.card_checking import check_card, in_directory, recompute
from coordinator.training.card_page import draw
from gateway.desk.chain import judge
from protos.scores import BINS
from protos.transcripts import follows, part_of
from protos.v1.job_pb2 import ScoreHistogram, TaskOutcome, TaskState
from tests.fakes.federation import a_federation, connected
from tests.flow.test_coordinator_rounds import a_bundle, moving_by, over, submit

pytestmark = pytest.mark.flow


def planned(tmp_path, plan: str, rounds: int = 2):
    a_bundle(tmp_path, rounds)
    manifest = tmp_path / "bundle" / "job.toml"
    manifest.write_text(f"{manifest.read_text()}\n[training]\n{plan}\n")
    from protos.bundle import pack

    return pack(tmp_path / "bundle")


def tasks(gateway):
    return [m.round_task for m in gateway.seen if m.HasField("round_task")]


async def reached(gateway, number):
    for _ in range(1000):
        if any(task.round == number for task in tasks(gateway)):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"round {number} was never handed out")


async def result(federation, job_id):
    model = await federation.asked(lambda c: b"".join(c.result(job_id)))
    raw, key, signature = await federation.asked(lambda c: c.report(job_id))
    return read_tensors(model)["w"], (raw, key, signature)


def forget_what_was_signed(home):
    for file in home.rglob("*.db"):
        with closing(sqlite3.connect(file)) as tables, suppress(sqlite3.OperationalError), tables:
            tables.execute("DELETE FROM transcript")


def by_command(directory, job_id):
    """Fetch and verify as people do; return exit codes, and how many rounds were made again."""
    home, model = directory / "c", directory / "model.safetensors"
    card, codes = directory / "model.card.json", []

    def run(*words):
        said = CliRunner().invoke(job, [*map(str, words), "--json"])
        codes.append(said.exit_code)
        return json.loads(said.stdout)

    fetched = run("result", job_id, "--out", model, "--as", home / "operator")
    assert fetched["card"] == str(card)
    assert "| strategy | fedadam" in (directory / "model.card.md").read_text()
    assert run("verify", card)["rounds_made_again"] == "none: name their --updates"
    made = run("verify", card, "--updates", load(home / "coordinator.toml").objects_dir)
    assert {"alpha", "beta", "coordinator"} == set(made["signed_by"])
    assert "key of alpha" in run("verify", card, "--key", f"alpha={'0' * 64}")["error"]
    model.write_bytes(model.read_bytes()[:-1] + b"\1")
    assert "is not the model of this card" in run("verify", card)["error"]
    return codes, made["rounds_made_again"]


def seen_as_good(area: float):
    """Return held-out counts of about that AUC: ranked right so often, tied for the rest."""
    positives, negatives = np.zeros(BINS, int), np.zeros(BINS, int)
    negatives[100] = 100
    positives[101], positives[100] = round(200 * area) - 100, 200 - round(200 * area)
    return ScoreHistogram(positives=positives, negatives=negatives)


def test_adam_at_the_server_lives_through_a_kill_and_its_rounds_can_be_made_again(
    tmp_path, tables_in
):
    plan = 'strategy = "fedadam"\nserver_rate = 0.5\nbeta1 = 0.8\nbeta2 = 0.9\ntau = 0.1'

    async def story():
        async with a_federation(tmp_path / "c", tables_in) as federation:
            alpha, beta = [await federation.enrolled(name) for name in ("alpha", "beta")]
            alpha.working = moving_by(1.0, 30)

            def beta_is_slow_in_the_second_round(gateway, task, weights):
                moves = moving_by(4.0, 10)(gateway, task, weights)
                return None if task.round == 2 and len(tasks(gateway)) < 3 else moves

            beta.working = beta_is_slow_in_the_second_round
            async with connected(alpha, beta):
                job_id = await federation.asked(submit(planned(tmp_path, plan, rounds=3)))
                await reached(beta, 2)
                await federation.coordinator.stop()
                forget_what_was_signed(tmp_path / "c")  # as a version before left it
                federation.coordinator = Coordinator(load(tmp_path / "c" / "coordinator.toml"))
                await federation.coordinator.start()
                await over(federation, job_id)
                found, signed = await result(federation, job_id)
                said = await asyncio.to_thread(by_command, tmp_path, job_id)

            assert said == ([0, 0, 0, 9, 9], 3)
            card = check_card(*signed, {"alpha": alpha.key.public_key().public_bytes_raw().hex()})
            objects = load(tmp_path / "c" / "coordinator.toml").objects_dir
            assert recompute(card, in_directory(objects), lambda *_: None) == 3
            states = [p for p in objects.rglob("*") if p.is_file() and b".first." in p.read_bytes()]
            assert not states  # each took the place of the one before, and nobody needs the last

        x, m, v = 0.0, 0.0, 0.1**2
        for _ in range(3):
            delta = (1.0 * 30 + 4.0 * 10) / 40
            m, v = 0.8 * m + 0.2 * delta, 0.9 * v + 0.1 * delta**2
            x += 0.5 * m / (v**0.5 + 0.1)
        assert found == pytest.approx([x] * 3, rel=1e-6)

    asyncio.run(story())


def states_in(home):
    objects = load(home / "coordinator.toml").objects_dir
    return [p for p in objects.rglob("*") if p.is_file() and b".first." in p.read_bytes()]


async def until(claim):
    for _ in range(500):
        if claim():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come true in time")


def test_what_a_server_remembers_goes_with_its_job_however_it_ends(tmp_path):
    """Stopped, failed, or left behind by a coordinator that died in between."""
    home, plan = tmp_path / "c", 'strategy = "fedadam"\ntau = 0.1\nquorum = 2'

    def once(gateway, task, weights):
        return moving_by(1.0, 30)(gateway, task, weights) if task.round == 1 else None

    def then_fails(gateway, task, weights):
        if task.round == 1:
            return moving_by(2.0, 30)(gateway, task, weights)
        return TaskOutcome(state=TaskState.TASK_STATE_FAILED, code="code_failed"), b""

    async def story():
        async with a_federation(home) as federation:
            alpha, beta = [await federation.enrolled(name) for name in ("alpha", "beta")]
            alpha.working = beta.working = once
            async with connected(alpha, beta):
                stopped = await federation.asked(submit(planned(tmp_path, plan, rounds=3)))
                await reached(beta, 2)
                (state,) = states_in(home)
                left = state.read_bytes()
                await federation.asked(lambda client: client.stop(stopped))
                await until(lambda: not states_in(home))

                alpha.working = beta.working = then_fails
                failed = await federation.asked(submit(planned(tmp_path, plan, rounds=3)))
                shown = await over(federation, failed)
                await until(lambda: not states_in(home))

                await federation.coordinator.stop()
                state.write_bytes(left)
                assert states_in(home) == [state]
                federation.coordinator = Coordinator(load(home / "coordinator.toml"))
                await federation.coordinator.start()
                await until(lambda: not states_in(home))
                return shown.job.stage

    assert asyncio.run(story()) == "failed"


def test_every_later_task_tells_the_story_and_the_hospitals_own_part(tmp_path):
    async def story():
        async with a_federation(tmp_path / "c") as federation:
            names = ("alpha", "beta", "gamma", "delta")
            gateways = [await federation.enrolled(name) for name in names]
            for weight, gateway in enumerate(gateways, 10):
                gateway.working = moving_by(1.0, weight)
            plan = "sites_per_round = 2\nseed = 1\nquorum = 2"
            async with connected(*gateways):
                job_id = await federation.asked(submit(planned(tmp_path, plan, rounds=6)))
                shown = await over(federation, job_id)
                _, signed = await result(federation, job_id)

            card = check_card(*signed, {})
            asked = [len(each.parts) for each in card.rounds]
            assert asked == [2] * 6 + [4]  # all measure the last
            assert len({part.site for part in shown.rounds}) == 4
            for gateway in gateways:
                last, kept, offers = (
                    None,
                    [],
                    [m.job_offer for m in gateway.seen if m.HasField("job_offer")],
                )
                started = next((t.weights_digest for t in tasks(gateway) if t.round == 1), b"")
                for task in tasks(gateway):
                    assert judge(task, offers[0], kept, started) is None
                    if kept and task.parts:
                        own, _ = gateway._done[last.task_id]
                        part = part_of(own.task_id, own.update_digest, own.weight)
                        assert part in task.parts
                        assert task.parts_round == last.round
                    known = {each.round for each in kept}
                    kept += [each for each in task.transcripts if each.round not in known]
                    last = task
                assert [each.round for each in kept] == [1, 2, 3, 4, 5, 6]
                assert all(follows(new, old) for old, new in pairwise(kept))

    asyncio.run(story())


def test_a_job_that_gains_nothing_more_ends_early_and_gives_its_best_model(tmp_path):
    areas = {1: 0.6, 2: 0.7, 3: 0.9, 4: 0.8, 5: 0.85, 6: 0.8}

    def working(_gateway, task, _weights):
        outcome = TaskOutcome(state=TaskState.TASK_STATE_RELEASED, weight=10, leakage_bits=5)
        outcome.validation.CopyFrom(seen_as_good(areas[task.round]))
        update = write_tensors({"w": np.ones(3, np.float32)})
        return outcome, b"" if task.evaluate_only else update

    async def story():
        async with a_federation(tmp_path / "c") as federation:
            gateways = [await federation.enrolled(name) for name in ("alpha", "beta")]
            for gateway in gateways:
                gateway.working = working
            async with connected(*gateways):
                plan = 'patience = 2\nkeep = "best"'
                job_id = await federation.asked(submit(planned(tmp_path, plan, rounds=20)))
                shown = await over(federation, job_id)
                found, signed = await result(federation, job_id)

            assert [figure.round for figure in shown.pooled] == [1, 2, 3, 4, 5, 6]
            assert [task.evaluate_only for task in tasks(gateways[0])] == [False] * 5 + [True]
            assert found == pytest.approx([2.0] * 3)  # what round 3 started from
            card = check_card(*signed, {})
            assert (card.result.round, card.result.auc) == (3, pytest.approx(0.9, abs=0.01))
            assert "test it on a locked set" in draw(card, "")

    asyncio.run(story())


def test_who_is_late_dies_or_joins_late_is_named_and_the_run_goes_on(tmp_path):
    async def story():
        async with a_federation(tmp_path / "c") as federation:
            names = ("alpha", "beta", "dies", "joins", "slow")
            alpha, beta, dies, joins, slow = [await federation.enrolled(name) for name in names]
            alpha.working = beta.working = moving_by(1.0, 10)
            joins.working = moving_by(1.0, 10)
            dies.working = lambda *_: (
                TaskOutcome(state=TaskState.TASK_STATE_FAILED, code="out_of_memory"), b""
            )  # fmt: skip
            released = asyncio.Event()

            async def slowly(task):
                if task.round == 1:
                    await released.wait()
                if task.round == 1 or task.evaluate_only:
                    await real(task)

            real = slow._work
            slow._work = slowly
            slow.working = moving_by(9.0, 10)
            joins.deciding = lambda _offer: None
            plan = "enough = 2"
            async with connected(alpha, beta, dies, joins, slow):
                federation.coordinator.rooms.driver._decision_seconds = 1.0
                job_id = await federation.asked(submit(planned(tmp_path, plan, rounds=40)))
                await reached(alpha, 3)
                released.set()
                from protos.v1.job_pb2 import Decision, JobDecision

                joins.say(decision=JobDecision(job_id=job_id, decision=Decision.DECISION_APPROVED))
                shown = await over(federation, job_id, 60)
                _, signed = await result(federation, job_id)

            assert shown.job.stage == "finished", shown.reason
            card = check_card(*signed, {})
            ends = {each.site: each.ends for each in card.hospitals}
            assert ends["dies"]["failed:out_of_memory"] == 41
            assert ends["slow"]["late"] == 1
            assert ends["slow"]["no_report"] == 39
            assert min(part.round for part in shown.rounds if part.site == "joins") > 1
            assert ends["joins"].get("released", 0) > 0
            page = draw(card, sha256(b"").hexdigest())
            assert "failed:out_of_memory 4" in page
            late = next(p for p in shown.rounds if (p.site, p.round) == ("slow", 1))
            assert late.code == "late"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("plan", "fault"),
    [
        ("quorum = 3", "quorum of 3: it is for 2 sites"),
        ("sites_per_round = 1", "`sites_per_round` in `job.toml` is under 2"),
        ("enough = 1", "`enough` in `job.toml` is under 2"),
    ],
)
def test_a_plan_that_no_round_could_follow_reaches_no_hospital(tmp_path, plan, fault):
    async def story():
        async with a_federation(tmp_path / "c") as federation:
            gateways = [await federation.enrolled(name) for name in ("alpha", "beta")]
            async with connected(*gateways):
                with pytest.raises(InvalidRequest, match=fault):
                    await federation.asked(submit(planned(tmp_path, plan)))

    asyncio.run(story())


def test_a_card_that_was_touched_is_not_believed(tmp_path):
    async def story():
        async with a_federation(tmp_path / "c") as federation:
            gateways = [await federation.enrolled(name) for name in ("alpha", "beta")]
            for gateway in gateways:
                gateway.working = moving_by(1.0, 10)
            async with connected(*gateways):
                job_id = await federation.asked(submit(planned(tmp_path, "quorum = 2")))
                await over(federation, job_id)
                _, (raw, key, signature) = await result(federation, job_id)
            sign = federation.coordinator.rooms.reports._key.sign
            objects = load(tmp_path / "c" / "coordinator.toml").objects_dir
            return raw, key, signature, sign, objects

    from protos.reports import card_statement

    raw, key, signature, sign, objects = asyncio.run(story())
    card = check_card(raw, key, signature, {})
    with pytest.raises(IntegrityFault, match="altered"):
        check_card(raw.replace(b'"alpha"', b'"gamma"'), key, signature, {})
    with pytest.raises(IntegrityFault, match="key of coordinator"):
        check_card(raw, key, signature, {"coordinator": "0" * 64})

    def told(lie):
        """A coordinator that signs what it likes."""
        content = lie.model_dump_json(indent=1).encode()
        return check_card(content, key, sign(card_statement(content)), {})

    first, second, last = card.rounds
    heavier = first.parts[0].model_copy(update={"weight": 99.0})
    planted = last.model_copy(update={"weights": "0" * 64})
    for lie, fault in (
        (first.model_copy(update={"parts": (heavier, *first.parts[1:])}), "updates of round 1"),
        (first.model_copy(update={"parts": first.parts[:1]}), "updates of round 1"),
        (first.model_copy(update={"transcript": second.transcript}), "of another round"),
    ):
        with pytest.raises(IntegrityFault, match=fault):
            told(card.model_copy(update={"rounds": (lie, second, last)}))
    with pytest.raises(IntegrityFault, match="did not start from"):
        told(card.model_copy(update={"rounds": (first, second, planted)}))
    cheaper = card.hospitals[0].model_copy(update={"leakage_bits": 0.0})
    with pytest.raises(IntegrityFault, match="figures of this card"):
        told(card.model_copy(update={"hospitals": (cheaper, *card.hospitals[1:])}))
    (tmp_path / "empty").mkdir()
    with pytest.raises(IntegrityFault, match="missing"):
        recompute(card, in_directory(tmp_path / "empty"), lambda *_: None)
    assert recompute(card, in_directory(objects), lambda *_: None) == 2
