"""A coordinator's tables with hospitals, jobs and rounds in them, as years of work leave them."""

import random
import time
from contextlib import contextmanager
from dataclasses import asdict, replace
from hashlib import sha256

from sqlalchemy import insert

from coordinator.model import JobRecord, JobStage, Pooled, RoundRecord, TaskRecord
from coordinator.store.tables import job, job_site, pooled, round_, site, task
from protos import bundle, job_manifest
from protos.reports import statistics_statement
from protos.scores import BINS
from protos.v1 import job_pb2
from tests.fakes.federation_console import a_console_federation
from tests.fakes.signers import Signatories, take_in
from tests.fakes.tested import patients, signature_of, statistics

TRAINING = """
name = "brightness"
kind = "training"
purpose = "Find <b>bright</b> squares\u202e in slices."
label = "nodule"
rounds = 20
clip = 1.0
sigma = 0.01
cohort = [{ field = "Modality", values = ["CT"] }]
weights.w = { shape = [2] }
metrics = [{ name = "loss", minimum = 0.0, maximum = 10.0, decimals = 2 }]
"""
TESTING = """
name = "NAME"
kind = "evaluation"
purpose = "Test a finder of nodules."
label = "nodule"
cohort = [{ field = "Modality", values = ["CT"] }]
[protocol]
test_set = "lungs-2026"
reference = "Two radiologists and a third where they differed."
threshold = 0.4
subgroups = ["PatientSex", "ManufacturerModelName"]
models = ["Alpha", "Beta <2>"]
"""
CODE = """# </pre><script>alert(1)</script> \u202e
def predict(cohort, weights, config):
    return {case.name: 0.5 for case in cohort}
"""
FAULTS = ("wall_limit", "schema_mismatch:w", "code_failed", "import_missing:monai")


def packed(manifest, code=CODE, **files):
    content = {"job.toml": manifest.encode(), "job.py": code.encode()} | files
    return bundle.encode(content)


def ended_with(code):
    withheld = code.startswith("schema_mismatch")
    state = job_pb2.TASK_STATE_WITHHELD if withheld else job_pb2.TASK_STATE_FAILED
    return job_pb2.TaskOutcome(state=state, code=code)


class Filled:
    """Writes rows as the rooms do, many at a time."""

    def __init__(self, coordinator, people=None) -> None:
        self._database = coordinator._tables.database
        self._objects = coordinator.rooms.transfers._objects
        self._people = people
        self._draw = random.Random(7)
        self._made = 0
        self.sites = []

    async def hospitals(self, number):
        self.sites = [f"hospital-{at:03d}" for at in range(number)]
        rows = [
            {"name": name, "standing": "active", "invited_at": 0.0, "software_version": "0.1.0",
             "last_seen_at": time.time(), "clock_skew_seconds": 0.0}
            for name in self.sites
        ]  # fmt: skip
        await self._add(site, rows)

    async def job(self, raw, stage=JobStage.RUNNING, *, decided=True, sites=None, **changes):
        """Put a job into the tables, offered to every hospital; all but every tenth approved."""
        self._made += 1
        manifest = bundle.manifest_of(raw)
        self._objects.add(raw)
        now = time.time() - 86400 + self._made
        key = self._people.keys["acme"] if self._people else signature_of("acme")
        terms = job_pb2.JobTerms(
            project="nodules", rounds=manifest.rounds, weights_digest=b"w" * 32, sites=self.sites
        )
        terms.expires_at.FromSeconds(int(now + 30 * 86400))
        record = JobRecord(
            job_id=f"{self._made:032x}",
            name=manifest.name,
            kind=job_pb2.JobKind.Value(f"JOB_KIND_{manifest.kind.upper()}"),
            stage=stage,
            rounds=manifest.rounds,
            round=0,
            bundle_digest=bundle.digest(raw),
            bundle_size=len(raw),
            vendor_key=key.public_key().public_bytes_raw(),
            vendor_signature=bundle.sign(raw, key),
            weights_digest=b"w" * 32,
            weights_size=8,
            quorum=2,
            round_seconds=600.0,
            submitted_by="spiffe://demo/vendor/acme",
            submitted_at=now,
            terms=terms.SerializeToString(deterministic=True),
            offered_at=None if stage is JobStage.IN_REVIEW else now,
            organisation="acme",
        )
        record = replace(record, **changes)
        await self._add(job, [asdict(record)])
        await self._add(job_site, [
            {"job_id": record.job_id, "site": name,
             "decision": (3 if at % 10 == 9 else 1) if decided else 0,
             "rule": "too_little_noise" if decided and at % 10 == 9 else "", "decided_at": now}
            for at, name in enumerate(sites or self.sites)
        ])  # fmt: skip
        return record

    async def rounds(self, record, number, *, last_open=True):
        """Give a training job rounds, the last of which may be under way."""
        for at in range(1, number + 1):
            is_open = last_open and at == number
            await self._round(record, at, is_open=is_open)

    async def _round(self, record, number, *, is_open, evaluate_only=False):
        ended = None if is_open else time.time()
        made = RoundRecord(
            record.job_id, number, sha256(f"{number}".encode()).digest(), 8, evaluate_only,
            time.time() + 600, ended, not is_open,
        )  # fmt: skip
        tasks = [
            TaskRecord(f"{record.job_id[-8:]}-{number}-{name}", record.job_id, number, name)
            for at, name in enumerate(self.sites)
            if at % 10 != 9
        ]
        await self._add(round_, [asdict(made)])
        await self._add(task, [asdict(self.worked(one, at, is_open=is_open))
                               for at, one in enumerate(tasks)])  # fmt: skip
        if not is_open:
            value = 0.6 + 0.3 * number / (number + 4)
            row = asdict(Pooled(number, value, value - 0.02, value + 0.02))
            await self._add(pooled, [row | {"job_id": record.job_id}])

    def worked(self, one, at, *, is_open):
        """Say how a hospital's part ended: most released, some did not, and each says why."""
        if is_open and at % 3:
            return one
        failed = at % 25 == 24
        said = ended_with(FAULTS[at % 4]) if failed else self.released(at, one.round)
        said.task_id = one.task_id
        return replace(
            one, state=said.state, outcome=said.SerializeToString(), accepted=not is_open,
            reported_at=time.time(),
        )  # fmt: skip

    def released(self, at, number):
        said = job_pb2.TaskOutcome(
            state=job_pb2.TASK_STATE_RELEASED, weight=40 + at % 50, leakage_bits=500.0
        )
        said.metrics.add(name="loss", value=round(1 / number + at % 7 / 50, 2))
        middle = BINS // 2
        for side, shift in (("positives", min(60, 4 * number)), ("negatives", -10)):
            counts = [0] * BINS
            for _ in range(30):
                drawn = middle + shift + int(self._draw.gauss(0, 30))
                counts[min(BINS - 1, max(0, drawn))] += 1
            getattr(said.validation, side).extend(counts)
        return said

    async def tested(self, raw, separation=1.5, said=None, **changes):
        """Put a tested product into the tables: signed statistics of nearly every hospital.

        They are of scores, or what `said` returns for a hospital's number.
        """
        record = await self.job(raw, JobStage.FINISHED, round=1, **changes)
        manifest = bundle.manifest_of(raw)
        made = RoundRecord(
            record.job_id, 1, b"w" * 32, 8, evaluate_only=True, deadline=time.time(),
            closed_at=time.time(), folded=True,
        )  # fmt: skip
        await self._add(round_, [asdict(made)])
        rows = []
        for at, name in enumerate(self.sites):
            if at % 10 == 9:
                continue
            one = TaskRecord(f"{record.job_id[-8:]}-1-{name}", record.job_id, 1, name)
            if at % 25 == 24:
                outcome = ended_with(FAULTS[at % 4])
            else:
                drawn = said(at) if said else None
                outcome = self._looked(one, at, separation, manifest, drawn)
            outcome.task_id = one.task_id
            rows.append(asdict(replace(one, state=outcome.state,
                                       outcome=outcome.SerializeToString(), accepted=True,
                                       reported_at=time.time())))  # fmt: skip
        await self._add(task, rows)
        return record

    def _looked(self, one, at, separation, manifest, drawn=None):
        drawn = drawn or statistics(*patients(at % 12, 120, separation, at % 7 / 7))
        drawn.protocol_digest = job_manifest.protocol_digest(manifest)
        raw = drawn.SerializeToString(deterministic=True)
        key = signature_of(one.site)
        return job_pb2.TaskOutcome(
            state=job_pb2.TASK_STATE_RELEASED,
            weight=120,
            leakage_bits=700.0,
            statistics=raw,
            statistics_key=key.public_key().public_bytes_raw(),
            statistics_signature=key.sign(statistics_statement(one.task_id, raw)),
        )

    async def _add(self, table, rows):
        async with self._database.writing() as connection:
            await connection.execute(insert(table), rows)


class Working:
    """A federation with its console and jobs of every kind in its tables."""

    def __init__(self, federation, filled, jobs, people) -> None:
        self.federation = federation
        self.people = people
        self.filled = filled
        self.running, self.reviewing, self.good, self.poor = jobs

    @property
    def address(self):
        return self.federation.address

    def do(self, work, timeout=60):
        return self.federation.do(work, timeout)

    def report(self, job_id, number, sites, value):
        """Let some hospitals' words on a round come, as they come from gateways."""
        rounds = self.federation.running.coordinator.rooms.rounds

        async def come():
            for at, name in enumerate(sites):
                said = self.filled.released(at, number)
                said.metrics[0].value = value
                task_id = f"{job_id[-8:]}-{number}-{name}"
                raw = said.SerializeToString()
                await rounds.report(task_id, said.state, raw, time.time())

        self.do(come())

    def turn(self, record, number):
        """End a round and begin the next, as the driver does."""
        rounds = self.federation.running.coordinator.rooms.rounds

        async def turned():
            its = next(r for r in await rounds.all(record.job_id) if r.number == number)
            tasks = await rounds.tasks(record.job_id, number)
            following = replace(its, number=number + 1)
            given = [
                TaskRecord(f"{record.job_id[-8:]}-{number + 1}-{t.site}", record.job_id,
                           number + 1, t.site)
                for t in tasks
            ]  # fmt: skip
            await rounds.close(its, [t.site for t in tasks], time.time())
            await rounds.turn(its, Pooled(number, 0.77, 0.75, 0.79), following, given, None)

        self.do(turned())


@contextmanager
def a_working_federation(home, sites, rounds=4):
    people = Signatories()
    with a_console_federation(home / "hub", reviews=True) as federation:
        take_in(federation.running, people)
        filled = Filled(federation.running.coordinator, people)

        async def fill():
            await filled.hospitals(sites)
            running = await filled.job(packed(TRAINING, CODE + "import numpy\n"), round=rounds)
            await filled.rounds(running, rounds)
            changed = packed(TRAINING, CODE + "import scipy\n", **{"w.bin": bytes(64)})
            reviewing = await filled.job(changed, JobStage.IN_REVIEW, decided=False)
            good = await filled.tested(packed(TESTING.replace("NAME", "good")), 3.0)
            poor = await filled.tested(packed(TESTING.replace("NAME", "poor")), 1.0)
            return running, reviewing, good, poor

        jobs = federation.do(fill(), 120)
        roll = federation.running.coordinator.rooms.roll
        until = time.monotonic() + 20
        while roll.version < 1 and time.monotonic() < until:
            time.sleep(0.05)
        yield Working(federation, filled, jobs, people)
