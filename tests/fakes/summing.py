"""Hospitals that know each other, and one round of a secure sum between them without a wire."""

from dataclasses import dataclass, field
from hashlib import sha256
from math import inf

import numpy as np

from coordinator.training import secure_sum
from coordinator.training.unmasking import Layout, unmask
from gateway.desk import reports
from gateway.desk.outcomes import hide
from gateway.desk.rules import JobStage, TaskStage
from gateway.policy import Hospital as Pinned
from gateway.policy import Jobs, Policy, SecureSums, StandingRule, Vendor
from protos import job_manifest, tensors
from protos.sums import SumContext, weights_of, width_of
from protos.v1 import job_pb2
from protos.v1.sum_pb2 import SumCall, SumReport, SumSurvivors
from tests.fakes.hospital import Hospital

BUNDLE = b"b" * 32
TOML = """
name = "summed"
kind = "training"
purpose = "A test."
label = "nodule"
sum = "secure"
rounds = 3
clip = 1.0
sigma = 0.05
cohort = [{ field = "Modality", values = ["CT"] }]
weights.w = { shape = [%d] }
"""


def acquainted(directory, runner, names, vendor_key=b"v" * 32, least=3, **sums):
    """Make hospitals whose policies pin each other's keys and approve one vendor's jobs."""
    hospitals = {name: Hospital(directory / name, runner, site=name) for name in names}
    jobs = Jobs(
        vendors=(Vendor(name="acme", public_key=vendor_key.hex()),),
        standing=(StandingRule(vendor="acme", max_leakage_bits=50_000),),
        sums=SecureSums(roster_at_least=least, hospitals=pins(hospitals), **sums),
    )
    for hospital in hospitals.values():
        hospital.policy = Policy(jobs=jobs)
    return hospitals


def pins(hospitals):
    return tuple(
        Pinned(name=name, public_key=each.sum_key.public_key().public_bytes_raw().hex())
        for name, each in hospitals.items()
    )


def a_model(values):
    return tensors.encode({"w": np.zeros(values)}, {"w": tensors.TensorSpec(shape=(values,))})


def a_task(site, weights, number=1, job_id="job1", suffix=""):
    return job_pb2.RoundTask(
        task_id=f"{job_id}.{number}.{site}{suffix}",
        job_id=job_id,
        round=number,
        weights_digest=sha256(weights).digest(),
        weights_size=len(weights),
    )


def enter(hospital, update, weight=20.0, cells=None, **which):
    """Let a hospital's round end with an update, as its desk does after the sandbox; its task."""
    manifest = job_manifest.parse_manifest(TOML % len(update))
    old = a_model(len(update))
    task = a_task(hospital.site, old, **which)
    book = hospital.book
    begin(hospital, task)
    new = tensors.encode({"w": update}, manifest.weights)
    counts = [0] * 400 if cells is None else cells
    kept = hospital.gate.summand(task.task_id, new, old, manifest, counts, trains=True)
    outcome = job_pb2.TaskOutcome(
        task_id=task.task_id,
        state=job_pb2.TASK_STATE_RELEASED,
        weight=weight,
        update_digest=bytes.fromhex(kept.digest),
    )
    job = book.job(task.job_id)
    report = hospital.sums.begin(task, job, BUNDLE, manifest, outcome)
    book.move_task(task.task_id, TaskStage.SUMMING, report)
    return task


TEST_TOML = """
name = "tested"
kind = "evaluation"
purpose = "A test."
label = "nodule"
sum = "secure"
cohort = [{ field = "Modality", values = ["CT"] }]
protocol = { test_set = "set-1", reference = "By the test.", threshold = 0.5, \
subgroups = ["PatientSex"] }
"""


def a_look(hospital, task_id, positives, negatives):
    """Return what one look gave: a test's statistics, of all patients and of the women."""
    said = job_pb2.EvaluationStatistics(protocol_digest=b"p" * 32, look=1, looks_left=2)
    for name, bin_ in (("", ""), ("PatientSex", "F")):
        said.cells.add(
            field=name, bin=bin_, positives=positives, negatives=negatives,
            true_positives=sum(positives[100:]), false_positives=sum(negatives[100:]),
        )  # fmt: skip
    said.unscored.missing_positives = 3
    raw = said.SerializeToString(deterministic=True)
    key, signature = hospital.sets.sign(task_id, raw)
    return job_pb2.TaskOutcome(
        task_id=task_id, state=job_pb2.TASK_STATE_RELEASED, weight=20.0, statistics=raw,
        statistics_key=key, statistics_signature=signature,
    )  # fmt: skip


def enter_test(hospital, positives, negatives, weights=b"w"):
    """Let a look at a locked set end, as a hospital's desk does after the sandbox; its task."""
    manifest = job_manifest.parse_manifest(TEST_TOML)
    task = a_task(hospital.site, weights)
    begin(hospital, task)
    outcome = hide(a_look(hospital, task.task_id, positives, negatives), manifest, hospital.gate)
    report = hospital.sums.begin(task, hospital.book.job(task.job_id), BUNDLE, manifest, outcome)
    hospital.book.move_task(task.task_id, TaskStage.SUMMING, report)
    return task


def begin(hospital, task):
    """Let a task of an approved job run."""
    book = hospital.book
    if book.job(task.job_id) is None:
        offer = job_pb2.JobOffer(job_id=task.job_id, bundle_digest=BUNDLE)
        book.take_job(task.job_id, offer.SerializeToString(), "acme")
        book.decide(task.job_id, JobStage.APPROVED, by="Dr. Steward")
    book.take_task(task.task_id, task.job_id, task.round, task.SerializeToString())
    running = reports.of_state(task.task_id, job_pb2.TASK_STATE_RUNNING)
    book.move_task(task.task_id, TaskStage.RUNNING, running)


def summand(hospital, task_id):
    """Return what a hospital hid under its mask: its update, and its counts."""
    kept = hospital.shelf.find(f"{task_id}/summand")
    numbers = np.frombuffer(hospital.shelf.chunk(kept, 0, kept.size), "<i4").astype(np.int64)
    return numbers[:-400], numbers[-400:]


@dataclass
class SumOfOneRound:
    """What a coordinator does, by its own rules, and whom it can still reach."""

    hospitals: dict
    tasks: dict
    said: dict = field(default_factory=dict)
    gone: set = field(default_factory=set)
    roster = dealers = survivors = None

    @property
    def here(self):
        return [site for site in self.hospitals if site not in self.gone]

    @property
    def context(self):
        task = next(iter(self.tasks.values()))
        return SumContext(task.job_id, task.round, BUNDLE, task.weights_digest)

    def hear(self):
        """Take what hospitals that can be reached have to say."""
        for site in self.here:
            for report in self.hospitals[site].desk.outbox():
                if report.kind == "sum":
                    step = SumReport.FromString(report.body)
                    self.hospitals[site].gate.sum_step(report.report_id, step, "")
                    self.said.setdefault(site, {})[step.WhichOneof("step")] = step
                    self.hospitals[site].desk.settled(report.report_id)

    def tell(self, site, **step):
        if site in self.gone:
            return
        hospital = self.hospitals[site]
        hospital.desk.take_sum(SumCall(task_id=self.tasks[site].task_id, **step))
        while hospital.desk._sum(None):
            pass
        self.hear()

    def fix_roster(self):
        self.hear()
        self.roster = secure_sum.roster_of(self.said, self.here)

    def show_roster(self):
        for keys in self.roster.hospitals:
            self.tell(keys.site, roster=self.roster)

    def fix_dealers(self):
        self.dealers = sorted(s for s in self.here if "shares" in self.said.get(s, {}))

    def hand_shares_on(self):
        circle = self.circle
        for site in self.dealers:
            shares = secure_sum.inbox(self.said, circle, self.dealers, site)
            self.tell(site, shares=shares)

    def close(self):
        masked = [site for site in self.dealers if self.update(site) is not None]
        self.survivors = [site for site in masked if site in self.here]
        for site in self.survivors:
            self.tell(site, survivors=SumSurvivors(sites=self.survivors))

    def show_transcript(self):
        steps = {site: set(said) for site, said in self.said.items()}
        count = len(self.roster.hospitals)
        signed = secure_sum.agreed(steps, count, self.survivors, inf, 0)
        transcript = secure_sum.transcript_of(self.said, self.survivors, signed)
        for site in self.survivors:
            self.tell(site, transcript=transcript)

    def opened(self, into):
        """Take the masks off; return the exact sum of updates and of counts, as a mean was made."""
        remover = self.circle.remover(self.said, self.dealers, self.survivors)
        manifest = job_manifest.parse_manifest(TOML % self.values)
        layout = Layout.of(manifest, trains=True)
        weights = weights_of(self.roster.hospitals)
        total = sum(weights[site] for site in self.survivors)
        width = width_of(layout.bits, weights.values())
        paths = [self.update(site) for site in self.survivors]
        histogram = unmask(layout, paths, remover, width, total, into)
        mean = tensors.decode(into.read_bytes(), layout.schema).flat("w")
        return mean, layout.scale, total, histogram

    @property
    def values(self):
        site = next(iter(self.hospitals))
        return len(summand(self.hospitals[site], self.tasks[site].task_id)[0])

    @property
    def circle(self):
        return secure_sum.Circle.of(self.context, self.roster)

    def update(self, site):
        """Return a hospital's masked update, as it would be pushed."""
        shelf = self.hospitals[site].shelf
        found = shelf.find(self.tasks[site].task_id)
        return None if found is None else shelf._payload(found.digest)
