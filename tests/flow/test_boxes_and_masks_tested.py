"""A product that says where findings are is tested: real sandbox, real drawings, real gate."""

import json

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from gateway.desk.charging import round_bits
from gateway.desk.trying import attempt, choose
from gateway.policy import Jobs, Policy, Tests, Vendor
from gateway.release.gate import GateShut
from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner
from protos import bundle
from protos.evaluation import EvaluationProtocol
from protos.overlap import DICE_EDGES, DIFFERENCE_BINS, HD95_EDGES
from protos.scores import score_bin
from protos.v1 import job_pb2
from tests.fakes.brightness import Signer
from tests.fakes.drawn import draw, square
from tests.fakes.hospital import Hospital
from tests.flow.test_locked_sets import run, said_by

pytestmark = pytest.mark.flow
JOB_TOML = """
name = "{name}"
kind = "evaluation"
purpose = "Test a finder of bright squares."
label = "nodule"
cohort = [{{ field = "Modality", values = ["CT"] }}]
weights.w = {{ shape = [2] }}
resources = {{ wall_seconds = 60, memory_mb = 1024 }}

[protocol]
test_set = "{predictions}"
reference = "Drawn so."
subgroups = ["PatientSex"]
predictions = "{predictions}"
endpoint = "{endpoint}"
{more}
"""
BOXES = """
import numpy as np
import radfed_job

def predict(cohort, weights, config):
    return {case.name: boxes(case, volume) for case, volume in cohort.volumes()}

def boxes(case, volume):
    number = int(case.name.split(".")[2][:-1])
    found = [volume.box(0.9, (0, 2, 2), (0, 5, 5))] if number % 2 and number % 3 else []
    if number % 5 == 0:
        found.append(volume.box(0.6, (0, 0, 0), (0, 0, 0)))
    return found
"""
MASKS = """
import numpy as np

def predict(cohort, weights, config):
    return {case.name: mask(case, volume) for case, volume in cohort.volumes()}

def mask(case, volume):
    number = int(case.name.split(".")[2][:-1])
    drawn = np.zeros(volume.values.shape)
    if number % 2:
        drawn[0, 2:6, 2 + number % 3:6 + number % 3] = 1
    return drawn
"""
HIT = 'threshold = 0.5\nhit = { by = "inside" }'
PATIENTS = 60


@pytest.fixture(scope="module")
def runner():
    return Runner.on_this_machine(Limits(memory_bytes=2 << 30))


@pytest.fixture
def vendor():
    return Signer(Ed25519PrivateKey.generate())


@pytest.fixture
def hospital(tmp_path, vendor, runner):
    jobs = Jobs(vendors=(Vendor(name="acme", public_key=vendor.public.hex()),))
    tests = Tests(looks_per_product=9, test_hospital_for={"nodule"})
    found = Hospital(tmp_path / "data", runner, Policy(jobs=jobs, tests=tests))
    found.admit_images(PATIENTS)
    for number in range(1, PATIENTS, 2):
        draw(found, number, square())
    return found


def a_product(tmp_path, code, predictions, endpoint, more="", name="squares"):
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    (folder / "job.toml").write_text(
        JOB_TOML.format(name=name, predictions=predictions, endpoint=endpoint, more=more)
    )
    (folder / "job.py").write_text(code)
    return bundle.pack(folder)


def boxes_of(tmp_path, code=BOXES, more=HIT, name="boxes"):
    return a_product(tmp_path, code, "boxes", "froc", more, name)


def masks_of(tmp_path, code=MASKS, name="masks"):
    return a_product(tmp_path, code, "masks", "dice", "", name)


def test_boxes_leave_as_sums_over_patients(hospital, vendor, tmp_path):
    outcome = run(hospital, vendor, boxes_of(tmp_path))

    said = said_by(outcome)
    whole = said.detections[0]
    assert [(cell.field, cell.bin) for cell in said.detections] == [("", ""), ("PatientSex", "F")]
    assert (whole.positives, whole.negatives, whole.lesions, whole.lesions2) == (30, 30, 30, 30)
    found = [n for n in range(PATIENTS) if n % 2 and n % 3]
    assert whole.hits[0] == whole.hits2[0] == whole.hits_lesions[0] == len(found)
    assert whole.hits[score_bin(0.95)] == 0
    assert whole.marks[score_bin(0.6)] == 12
    assert whole.marks[score_bin(0.7)] == 0
    assert list(whole.at_threshold) == [len(found), len(found), len(found), 12, 12]
    assert not outcome.HasField("validation")
    assert said.unreferenced == 0
    assert hospital.gate.outcome("r", outcome, "Dr. Steward").payload
    (account,) = hospital.bits.accounts()
    assert account.bits >= outcome.leakage_bits > 100
    assert account.exact == 1


def test_masks_leave_as_counts_of_overlap(hospital, vendor, tmp_path):
    outcome = run(hospital, vendor, masks_of(tmp_path))

    said = said_by(outcome)
    whole, dice, hd95 = said.overlaps[0], [], []
    for number in range(1, PATIENTS, 2):
        drawn = np.roll(square(), number % 3, axis=1)
        dice.append(2 * (drawn & square()).sum() / (drawn.sum() + square().sum()))
        edges = [np.argwhere(m & ~binary_erosion(m[None], border_value=0)[0])
                 for m in (drawn, square())]  # fmt: skip
        apart = cdist(*edges)
        hd95.append(np.percentile(np.concatenate((apart.min(0), apart.min(1))), 95))
    assert list(whole.dice) == np.histogram(dice, [0, *DICE_EDGES, 1])[0].tolist()
    assert list(whole.hd95) == np.histogram(hd95, [0, *HD95_EDGES, np.inf])[0].tolist()
    assert whole.dice_sum == sum(round(1000 * each) for each in dice)
    assert (whole.positives, whole.negatives) == (30, 30)
    assert (whole.undrawn, whole.drawn_without) == (0, 0)
    assert hospital.gate.outcome("r", outcome, "Dr. Steward").payload


def beside(first, more):
    return f'{more}\ncompare_with = "{bundle.digest(first).hex()}"'


def test_two_finders_of_boxes_are_compared_on_the_same_patients(hospital, vendor, tmp_path):
    # The first said nothing of case 9: nine more with, ten without the finding stay out with it.
    first = boxes_of(tmp_path, BOXES.replace("cohort.volumes()}", "list(cohort.volumes())[:-1]}"))
    run(hospital, vendor, first)
    better = BOXES.replace("number % 2 and number % 3", "number % 2 and number != 1")
    second = boxes_of(tmp_path, better, beside(first, HIT), "finer")

    outcome = run(hospital, vendor, second, "job2")
    said = said_by(outcome)

    pair = said.comparison.boxes
    assert said.comparison.other_bundle == bundle.digest(first)
    assert (pair.positives, pair.negatives, pair.lesions) == (20, 20, 20)
    assert said.detections[0].positives == 30
    assert (pair.this_alone, pair.other_alone) == (
        pair.this_at_threshold[0] - pair.other_at_threshold[0], 0,
    )  # fmt: skip
    assert pair.this_alone > 0
    assert pair.marks_products == pair.this_at_threshold[3] == pair.other_at_threshold[3]
    assert pair.summary_spread > 0
    assert hospital.gate.outcome("r", outcome, "Dr. Steward").payload
    assert said_by(run(hospital, vendor, second, "job3")).comparison == said.comparison


def test_two_drawers_of_masks_are_compared_on_the_same_patients(hospital, vendor, tmp_path):
    first = masks_of(tmp_path)
    run(hospital, vendor, first)
    exact = MASKS.replace("2 + number % 3:6 + number % 3", "2:6")
    second = a_product(tmp_path, exact, "masks", "dice", beside(first, ""), "sharper")

    outcome = run(hospital, vendor, second, "job2")

    pair = said_by(outcome).comparison.masks
    other = [2 * (np.roll(square(), n % 3, axis=1) & square()).sum() / 32
             for n in range(1, PATIENTS, 2)]  # fmt: skip
    assert (pair.patients, pair.this_dice) == (30, 30_000)
    assert pair.other_dice == sum(round(1000 * each) for each in other)
    assert pair.squares == sum((1000 - round(1000 * each)) ** 2 for each in other)
    assert pair.differences[DIFFERENCE_BINS // 2] == 10
    assert hospital.gate.outcome("r", outcome, "Dr. Steward").payload
    for number, left in enumerate((b"", b"1.0\nno masks")):
        for kept in (tmp_path / "data").rglob("predictions/*"):
            kept.write_bytes(left)
        damaged = run(hospital, vendor, second, f"damaged{number}")
        assert damaged.state == job_pb2.TASK_STATE_RELEASED
        assert not said_by(damaged).HasField("comparison")


def test_how_alike_readers_drew_is_counted_and_the_vote_is_the_reference(
    hospital, vendor, tmp_path
):
    for number in range(1, PATIENTS, 2):
        draw(hospital, number, np.roll(square(), number % 3, axis=1), reader="SEG b")
        draw(hospital, number, square(), reader="SEG c")
    raw = a_product(tmp_path, MASKS, "masks", "dice", "readers = true", "masks")

    draw(hospital, 0, square(), reader="SEG d")
    with hospital.index.transaction() as connection:  # as a rejection note does
        connection.execute("UPDATE instance SET hidden = 1 WHERE path = '0d.seg.dcm'")

    said = said_by(run(hospital, vendor, raw))

    assert said.overlaps[0].negatives == 30  # what was rejected is no word, and no drawing
    alike = []
    for number in range(1, PATIENTS, 2):
        moved = np.roll(square(), number % 3, axis=1)
        other = 2 * (moved & square()).sum() / 32
        alike.append((1.0 + 2 * other) / 3)
    assert list(said.reader_dice) == np.histogram(alike, [0, *DICE_EDGES, 1])[0].tolist()
    assert said.overlaps[0].dice[-1] == 10  # two of three drew the square itself
    voxels = said.voxel_readers
    assert (voxels.readers, voxels.cases) == (3, 30)
    drawn = [np.roll(square(), number % 3, axis=1) for number in range(1, PATIENTS, 2)]
    moved = sum(int((each & ~square()).sum()) for each in drawn)
    left = sum(int((square() & ~each).sum()) for each in drawn)
    # The first and the third drew the square, the second moved it; all fill the box but a corner.
    assert list(voxels.voxels) == [0, 0, moved, 0, 0, left, 0, 30 * 16 - left]


def test_what_cannot_be_judged_is_counted(hospital, vendor, tmp_path):
    for number in (1, 11):
        (tmp_path / f"data/store/{number}a.seg.dcm").write_bytes(b"no segmentation")
    with hospital.index.transaction() as connection:
        connection.execute("DELETE FROM label WHERE source <> '' AND series_uid = '2.25.592'")
    strange = MASKS.replace(
        "    return drawn", "    return drawn[:, :, :5] if number < 4 else drawn"
    )
    silent = strange.replace("cohort.volumes()}", "list(cohort.volumes())[:-1]}")  # number 9

    said = said_by(run(hospital, vendor, masks_of(tmp_path, silent)))

    lost, whole = said.unscored, said.overlaps[0]
    assert said.unreferenced == 3
    assert (lost.misplaced_positives, lost.misplaced_negatives) == (1, 2)
    assert (lost.missing_positives, lost.missing_negatives) == (1, 0)
    assert (whole.positives, whole.negatives) == (25, 28)
    events = [e for e in hospital.audit.events() if e.event == "reference_unreadable"]
    assert len(events) == 2


UNKNOWN = BOXES.replace("return {case.name", "return {'9.9': []} | {case.name")
WILD = BOXES.replace("0.6, (0, 0, 0)", "1.6, (0, 0, 0)")


def test_boxes_nobody_asked_for_spoil_the_look(hospital, vendor, tmp_path):
    unknown = run(hospital, vendor, boxes_of(tmp_path, UNKNOWN), "job1")
    wild = said_by(run(hospital, vendor, boxes_of(tmp_path, WILD), "job2"))

    assert (unknown.state, unknown.code) == (job_pb2.TASK_STATE_WITHHELD, "unknown_case")
    assert wild.unscored.unusable_positives + wild.unscored.unusable_negatives == 12


def test_what_a_look_may_come_to_is_asked_before_it_runs(tmp_path):
    manifests = [bundle.manifest_of(raw) for raw in (boxes_of(tmp_path), masks_of(tmp_path))]

    boxes, masks = (round_bits(manifest, 30, 30) for manifest in manifests)

    assert 20_000 < boxes < 60_000  # 100 marks in each of 60 cases, in the whole and by sex
    assert 300 < masks < 600


def test_a_hospital_where_nobody_drew_has_a_word_for_it(hospital, vendor, tmp_path):
    with hospital.index.transaction() as connection:
        connection.execute("UPDATE label SET source = ''")

    outcome = run(hospital, vendor, boxes_of(tmp_path))

    assert (outcome.state, outcome.code) == (job_pb2.TASK_STATE_WITHHELD, "reference_missing")


def test_the_gate_keeps_what_sums_of_patients_cannot_be(hospital, vendor, tmp_path):
    boxes = run(hospital, vendor, boxes_of(tmp_path), "job1")
    masks = run(hospital, vendor, masks_of(tmp_path), "job2")

    def shut(honest, change):
        said = said_by(honest)
        change(said)
        outcome = job_pb2.TaskOutcome()
        outcome.CopyFrom(honest)
        outcome.statistics = said.SerializeToString(deterministic=True)
        key, signature = hospital.sets.sign(outcome.task_id, outcome.statistics)
        outcome.statistics_key, outcome.statistics_signature = key, signature
        with pytest.raises(GateShut):
            hospital.gate.outcome("r", outcome, "Dr. Steward")

    shut(boxes, lambda said: setattr(said.detections[1], "bin", "ZHANG WEI"))
    shut(boxes, lambda said: setattr(said.detections[0], "positives", 9))
    shut(boxes, lambda said: setattr(said.detections[1], "negatives", 25))
    shut(boxes, lambda said: said.detections[0].hits.__setitem__(199, 5))
    shut(boxes, lambda said: said.detections[0].marks2.__setitem__(0, 1))
    shut(boxes, lambda said: said.detections[0].hits.append(1))
    shut(boxes, lambda said: said.detections[0].at_threshold.__setitem__(0, 31))
    shut(boxes, lambda said: said.overlaps.append(said_by(masks).overlaps[0]))
    shut(masks, lambda said: setattr(said.overlaps[0], "undrawn", 1))
    shut(masks, lambda said: setattr(said.overlaps[0], "dice_sum", 30_001))
    shut(masks, lambda said: setattr(said.overlaps[0], "dice_sum2", 1))
    shut(masks, lambda said: said.overlaps[0].dice.append(0))
    shut(masks, lambda said: said.reader_dice.extend([1] * 20 + [0]))
    shut(masks, lambda said: said.reader_dice.extend([19] + [0] * 19))
    shut(masks, lambda said: read(said, 2, 19, [5] * 4))
    shut(masks, lambda said: read(said, 2, 20, [5] * 3))
    shut(masks, lambda said: read(said, 6, 20, [1] * 64))
    shut(masks, lambda said: read(said, 2, 20, [0] * 4))


def read(said, readers, cases, voxels):
    said.voxel_readers.readers, said.voxel_readers.cases = readers, cases
    said.voxel_readers.voxels.extend(voxels)


def test_a_dry_run_reads_boxes_and_masks_as_a_look_would(hospital, runner, tmp_path):
    cohorts = hospital.rounds._cohorts

    def tried(raw, name):
        manifest = bundle.manifest_of(raw)
        few = choose(cohorts.selected(manifest), cohorts.split)
        labels = cohorts.labels(manifest)
        return attempt(raw, few, labels, cohorts.split, runner, made(tmp_path / name)).ended

    assert tried(boxes_of(tmp_path, UNKNOWN), "try1") == "unknown_case"
    assert tried(masks_of(tmp_path), "try2") == "would be released"


def made(folder):
    folder.mkdir()
    return folder


def test_a_protocol_says_what_is_predicted_and_what_a_hit_is():
    facts = {"test_set": "a", "reference": "b"}
    for wrong in (
        {"predictions": "boxes", "endpoint": "froc", "threshold": 0.5},
        {"predictions": "boxes", "endpoint": "auc", "threshold": 0.5, "hit": {}},
        {"predictions": "boxes", "endpoint": "froc", "hit": {}},
        {"predictions": "masks", "endpoint": "dice", "threshold": 0.5},
        {"predictions": "scores"},
        {"predictions": "scores", "threshold": 0.5, "hit": {}},
        {"predictions": "boxes", "endpoint": "froc", "threshold": 0.5, "hit": {"by": "iou"}},
        {"predictions": "boxes", "endpoint": "froc", "threshold": 0.5,
         "hit": {"by": "iou", "at": 2}},
        {"predictions": "boxes", "endpoint": "froc", "threshold": 0.5,
         "hit": {"by": "inside", "at": 2}},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="Value error"):
            EvaluationProtocol(**facts, **wrong)
    boxes = {"predictions": "boxes", "endpoint": "froc", "threshold": 0.5}
    near = EvaluationProtocol(**facts, **boxes, hit={"by": "distance", "at": 5})
    far = EvaluationProtocol(**facts, **boxes, hit={"by": "distance", "at": 6})
    assert json.dumps(near.fixed()) != json.dumps(far.fixed())
    assert "predictions" not in EvaluationProtocol(**facts, threshold=0.5).fixed()
