"""What the pages of jobs and reports show, over a real coordinator's tables."""

import asyncio
import json

import pytest

from coordinator.api.reports import Reports
from coordinator.app.figures import site_auc
from coordinator.console.job_board import JobBoard, wanted_of
from coordinator.console.report_board import ReportBoard, read_pins
from coordinator.errors import IntegrityFault, InvalidRequest, NotFound, WrongMoment
from coordinator.jobs.dossier import Dossiers
from coordinator.model import Caller, JobStage
from coordinator.store.jobs import Wanted
from coordinator.store.objects import Objects
from coordinator.training.progress import Progress
from protos import bundle
from protos.identity import Identity, Role
from tests.fakes.federation import a_federation
from tests.fakes.signers import Signatories
from tests.fakes.tested import signature_of
from tests.fakes.tested_jobs import CODE, TESTING, TRAINING, Filled, packed

pytestmark = pytest.mark.flow


def caller(role, name="somebody", organisation=""):
    return Caller(Identity("demo", role, name), "", 1e12, organisation)


OPERATOR = caller(Role.OPERATOR)


class Boards:
    def __init__(self, federation, people):
        rooms = federation.coordinator.rooms
        objects = rooms.transfers._objects
        dossiers = Dossiers(objects)
        self.jobs = JobBoard(
            rooms.jobs, rooms.rounds, Progress(rooms.rounds, site_auc), dossiers, rooms.roll
        )
        assert isinstance(rooms.reports, Reports)
        self.reports = ReportBoard(self.jobs, rooms.reports, dossiers)
        self.filled = Filled(federation.coordinator, people)
        self.rooms = rooms


def over(tmp_path, story, sites=4, tables=""):
    async def run():
        async with a_federation(tmp_path / "hub", tables, reviews=True) as federation:
            boards = Boards(federation, Signatories())
            await boards.filled.hospitals(sites)
            await story(boards)

    asyncio.run(run())


def test_jobs_are_turned_by_key_and_seen_by_whom_they_concern(tmp_path, tables_in):
    async def story(boards):
        raw = packed(TRAINING)
        for _ in range(28):
            await boards.filled.job(raw)
        other = await boards.filled.job(
            packed(TRAINING.replace("brightness", "darkness")),
            JobStage.STOPPED,
            organisation="rival",
            submitted_by="spiffe://demo/vendor/rival",
        )

        first = await boards.jobs.jobs(wanted_of("", "", "", ""), OPERATOR)
        rest = await boards.jobs.jobs(wanted_of("", "", "", first.following), OPERATOR)
        named = await boards.jobs.jobs(wanted_of("", "training", "DARK", ""), OPERATOR)
        percent = await boards.jobs.jobs(wanted_of("", "", "%", ""), OPERATOR)
        rival = await boards.jobs.jobs(Wanted(), caller(Role.VENDOR, "rival", "rival"))

        assert (len(first.lines), len(rest.lines), rest.following) == (25, 4, "")
        ids = {job.job_id for job in (*first.lines, *rest.lines)}
        assert len(ids) == 29
        assert first.by_stage == {"running": 28, "stopped": 1}
        assert [job.job_id for job in named.lines] == [other.job_id]
        assert percent.lines == []
        assert [job.job_id for job in rival.lines] == [other.job_id]
        assert rival.by_stage == {"stopped": 1}
        with pytest.raises(NotFound):
            await boards.jobs.show(first.lines[-1].job_id, caller(Role.VENDOR, "rival", "rival"))
        with pytest.raises(InvalidRequest):
            wanted_of("", "", "", "nowhere.x")

    over(tmp_path, story, tables=tables_in)


def test_code_is_compared_with_the_last_approved_of_its_name(tmp_path):
    async def story(boards):
        old = await boards.filled.job(packed(TRAINING, CODE + "import numpy\n"))
        await boards.filled.job(
            packed(TRAINING, CODE + "import os\n"), JobStage.IN_REVIEW, decided=False
        )
        foreign = {"vendor_key": b"k" * 32, "organisation": "rival"}
        await boards.filled.job(packed(TRAINING, CODE + "import re\n"), **foreign)
        new = await boards.filled.job(
            packed(TRAINING, CODE + "import scipy\n"), JobStage.IN_REVIEW, decided=False
        )

        shown = await boards.jobs.code(new.job_id, OPERATOR)
        first = await boards.jobs.code(old.job_id, OPERATOR)

        assert shown.before.job_id == old.job_id
        assert {"-import numpy", "+import scipy"} <= set(shown.changes.lines)
        assert first.before is None
        assert {file.name for file in first.dossier.files} == {"job.py", "job.toml"}

    over(tmp_path, story)


def test_rounds_have_everybody_in_them(tmp_path):
    async def story(boards):
        record = await boards.filled.job(packed(TRAINING))
        await boards.filled.rounds(record, 3)

        for _ in range(3):  # each look describes one more round at the least
            shown = await boards.jobs.show(record.job_id, OPERATOR)
        earlier = await boards.jobs.show(record.job_id, OPERATOR, number=2)
        curves = await boards.jobs.curves(record.job_id, OPERATOR, "auc", 0)
        losses = await boards.jobs.curves(record.job_id, OPERATOR, "loss", 2)

        assert shown.standing.round.number == 3
        assert len(shown.standing.sites) == 30
        states = shown.standing.states
        assert (states["refused"], states["queued"], states.total()) == (3, 18, 30)
        refused = next(row for row in shown.standing.sites if row.state == "refused")
        assert refused.rule == "too_little_noise"
        assert earlier.standing.round.number == 2
        assert [line.number for line in shown.standing.newest] == [3, 2, 1]
        assert shown.standing.newest[1].codes == {("failed", "wall_limit"): 1}
        assert shown.standing.newest[1].pooled.auc == pytest.approx(0.7)
        assert [number for number, _ in curves["rounds"]] == [1, 2, 3]
        assert len(curves["sites"]) == len(curves["rounds"][0][1]) == 30
        assert sum(one is not None for one in curves["rounds"][2][1]) == 8
        assert [number for number, _ in losses["rounds"]] == [3]
        assert json.dumps(curves)

    over(tmp_path, story, sites=30)


def test_a_report_is_made_once_and_again_when_a_late_word_changes_it(tmp_path, tables_in):
    async def story(boards):
        raw = packed(TESTING.replace("NAME", "finder"))
        record = await boards.filled.tested(raw)
        running = await boards.filled.job(raw)

        made = await boards.reports.whole(record.job_id, OPERATOR)
        again = await boards.reports.whole(record.job_id, OPERATOR)
        held = await boards.reports.verify(record.job_id, OPERATOR, {})
        key = signature_of("hospital-000").public_key().public_bytes_raw().hex()
        known = await boards.reports.verify(
            record.job_id, OPERATOR, read_pins(f"hospital-000 = {key.upper()}\n\n")
        )
        other = await boards.reports.verify(
            record.job_id, OPERATOR, read_pins(f"hospital-000={'0' * 64}")
        )
        lines, _ = await boards.reports.reports("", OPERATOR)
        task = (await boards.rooms.rounds.tasks(record.job_id))[0]
        await boards.rooms.rounds.mark(task.task_id, b"")
        later = await boards.reports.whole(record.job_id, OPERATOR)

        assert again is made
        assert made.report.flow.hospitals_reporting == 4
        assert (held.fault, held.compared) == ("", frozenset())
        assert known.compared == {"hospital-000"}
        assert "not the one you named" in other.fault
        assert [line.is_there for line in lines] == [False, True]
        assert later.report.flow.hospitals_reporting == 3
        with pytest.raises(WrongMoment):
            await boards.reports.show(running.job_id, OPERATOR)
        with pytest.raises(NotFound):
            await boards.reports.show(record.job_id, caller(Role.VENDOR, "rival", "rival"))

    over(tmp_path, story, tables=tables_in)


def test_two_products_stand_side_by_side(tmp_path):
    async def story(boards):
        good = await boards.filled.tested(packed(TESTING.replace("NAME", "good")), 3.0)
        poor = await boards.filled.tested(packed(TESTING.replace("NAME", "poor")), 0.5)
        text = TESTING.replace("NAME", "else").replace("lungs-2026", "lungs-2027")
        odd = await boards.filled.tested(packed(text))
        for one in (good, poor, odd):
            await boards.reports.whole(one.job_id, OPERATOR)

        beside = await boards.reports.beside(good.job_id, poor.job_id, OPERATOR)
        unlike = await boards.reports.beside(good.job_id, odd.job_id, OPERATOR)

        auc = next(row for row in beside.rows if row.name == "AUC")
        assert auc.first.low > auc.second.high
        assert (beside.same_protocol, beside.paired) == (True, "")
        assert not unlike.same_protocol

    over(tmp_path, story)


@pytest.mark.parametrize("typed", ["alpha", "alpha=xyz", f"alpha={'0' * 63}", "a=" + "g" * 64])
def test_what_is_no_key_is_refused(typed):
    with pytest.raises(InvalidRequest):
        read_pins(typed)


def test_other_bytes_under_its_name_are_no_bundle(tmp_path):
    objects = Objects(tmp_path)
    raw = bundle.encode({"job.toml": TRAINING.encode(), "job.py": b"a = 1\n", "w": b"\0\1"})
    digest = objects.add(raw)
    dossiers = Dossiers(objects)

    found = asyncio.run(dossiers.checked(digest))

    assert next((one.name, one.text) for one in found.files) == ("job.py", "a = 1\n")
    assert [one.name for one in found.unshown] == ["w"]
    objects.path(digest).write_bytes(raw.replace(b"a = 1", b"a = 2"))
    with pytest.raises(IntegrityFault):
        asyncio.run(Dossiers(objects).checked(digest))
    with pytest.raises(IntegrityFault):
        asyncio.run(Dossiers(objects).checked(b"x" * 32))
