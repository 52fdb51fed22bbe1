"""Reports of tests of boxes and of masks: pooled as if in one table, checked, drawn."""

import json
from hashlib import sha256

import numpy as np
import pytest

from coordinator.errors import IntegrityFault
from coordinator.evaluation.checking import Signature, check
from coordinator.evaluation.document import Report
from coordinator.evaluation.page import draw
from coordinator.evaluation.report import build
from coordinator.training.statistics import are_sound
from gateway.desk.localising import _detection, _overlap
from gateway.evaluate.cells import gather, shown_of_places
from gateway.evaluate.detections import Mark, Searched, Searches, search
from gateway.evaluate.overlap import Overlapped, Overlaps
from gateway.model import Box
from gateway.release.statistics import statistics_bits
from protos.evaluation import EvaluationProtocol, Hit
from protos.reports import report_statement, statistics_statement
from protos.v1 import job_pb2
from tests.fakes.tested import (
    ended,
    evidence,
    patients,
    released,
    signature_of,
    statistics,
)

COMMON = {"test_set": "lungs-2026", "reference": "Two radiologists.", "subgroups": ("PatientSex",)}
BOXES = EvaluationProtocol(
    **COMMON, predictions="boxes", endpoint="froc", threshold=0.5, hit=Hit(by="distance", at=6)
)
MASKS = EvaluationProtocol(**COMMON, predictions="masks", endpoint="dice")


def around(centre):
    return Box(tuple(at - 5 for at in centre), tuple(at + 5 for at in centre))


def searched(seed, number):
    rng = np.random.default_rng(seed)
    for _ in range(number):
        places = [(60.0 * at, 0.0, 0.0) for at in range(int(rng.poisson(1.2)))]
        marks = [
            Mark(around(place), float(rng.beta(4, 2))) for place in places if rng.random() < 0.8
        ]
        marks += [Mark(around((0.0, 300.0 + 60 * at, 0.0)), float(rng.beta(2, 4)))
                  for at in range(int(rng.poisson(0.8)))]  # fmt: skip
        found = search([around(place) for place in places], marks, BOXES.hit, 0.5)
        yield Searched(found, None, bool(places), {"PatientSex": str(rng.choice(["F", "M"]))})


def drawn(seed, number):
    rng = np.random.default_rng(seed)
    for _ in range(number):
        sex = {"PatientSex": str(rng.choice(["F", "M"]))}
        if rng.random() < 0.5:
            yield Overlapped(None, positive=False, groups=sex, drew=bool(rng.random() < 0.2))
        elif rng.random() < 0.1:
            yield Overlapped(None, positive=True, groups=sex, dice=0.0)
        else:
            dice, away = float(rng.beta(8, 2)), float(rng.gamma(2, 3))
            yield Overlapped(None, positive=True, groups=sex, drew=True, dice=dice, hd95=away)


def told(patients, kind, add, message, into):
    cells, _ = gather(patients, ["PatientSex"], kind, add)
    said = job_pb2.EvaluationStatistics(protocol_digest=b"p" * 32, look=1, looks_left=2)
    said.unreferenced = 2
    if into == "overlaps":
        said.reader_dice.extend([0] * 15 + [5, 10, 20, 5, 2])
        said.voxel_readers.CopyFrom(
            job_pb2.VoxelReaders(readers=2, cases=42, voxels=[500, 40, 60, 900])
        )
    getattr(said, into).extend(message(key, cell) for key, cell in shown_of_places(cells).items())
    return said


def boxes(patients):
    return told(patients, Searches, Searches.add, _detection, "detections")


def masks(patients):
    return told(patients, Overlaps, Overlaps.add, _overlap, "overlaps")


@pytest.fixture
def of_boxes():
    each = {"ankang": list(searched(1, 160)), "beihai": list(searched(2, 200))}
    sites = [released(site, boxes(patients)) for site, patients in each.items()]
    found = build(evidence([*sites, ended("enshi", "withheld", "reference_missing")],
                           protocol=BOXES))  # fmt: skip
    return found, [one for patients in each.values() for one in patients]


@pytest.fixture
def of_masks():
    each = {"ankang": list(drawn(3, 80)), "beihai": list(drawn(4, 120))}
    sites = [released(site, masks(patients)) for site, patients in each.items()]
    return build(evidence(sites, protocol=MASKS)), [one for all_ in each.values() for one in all_]


def test_boxes_of_all_hospitals_are_as_if_in_one_table(of_boxes):
    report, patients = of_boxes

    hits = np.array([one.found.hits[-1] for one in patients])
    lesions = np.array([one.found.lesions for one in patients])
    marks = np.array([one.found.marks[-1] for one in patients])
    at, m = report.detection.at_threshold, len(patients)
    assert at.sensitivity == pytest.approx(hits.sum() / lesions.sum(), abs=1e-12)
    rest = hits - at.sensitivity * lesions  # linearised ratio of sums over patients
    error = np.sqrt((rest**2).sum() * m / (m - 1)) / lesions.sum()
    half = (np.log(at.high / (1 - at.high)) - np.log(at.low / (1 - at.low))) / 2
    mean = at.sensitivity
    assert half == pytest.approx(1.959963984540054 * error / (mean * (1 - mean)), abs=1e-9)
    assert at.false_marks == pytest.approx(marks.mean())
    spread = marks.std(ddof=1) / np.sqrt(m)
    assert at.false_marks_high == pytest.approx(marks.mean() + 1.959963984540054 * spread)
    assert report.flow.patients_scored == m
    assert report.flow.patients_unreferenced == 4
    assert report.flow.not_reporting == {"withheld: reference_missing": 1}
    assert {one.bin for one in report.subgroups} == {"F", "M"}
    assert sum(one.detection.lesions for one in report.subgroups) == lesions.sum()
    assert 0.5 < report.detection.mean_sensitivity < 1


def test_masks_of_all_hospitals_are_as_if_in_one_table(of_masks):
    report, patients = of_masks

    dice = np.array([one.dice for one in patients if one.positive])
    away = np.array([one.hd95 for one in patients if one.hd95 is not None])
    found = report.overlap
    assert found.positives == len(dice)
    assert found.mean_dice.value == pytest.approx(dice.mean(), abs=5e-4)
    for wanted, low, high in found.dice.quantiles:
        assert low <= np.quantile(dice, wanted, method="inverted_cdf") <= high
    for wanted, low, high in found.hd95.quantiles:
        assert low <= np.quantile(away, wanted, method="inverted_cdf") <= (high or np.inf)
    assert found.undrawn.count == len(dice) - len(away)
    without = [one.drew for one in patients if not one.positive]
    assert (found.drawn_without.count, found.drawn_without.of) == (sum(without), len(without))
    assert report.flow.patients_unscored["misplaced_positives"] == 0
    assert report.reader_dice["ankang"].cases == 42
    assert report.reader_dice["ankang"].quantiles[2] == (0.5, 0.85, 0.9)
    voxels = report.voxel_readers[0]
    assert (voxels.site, voxels.readers, voxels.voxels) == ("ankang", 2, 1500)
    assert voxels.drawn == {"00": 500, "10": 40, "01": 60, "11": 900}
    assert voxels.voted_voxels == 1000


def test_such_reports_are_checked_and_drawn_as_any_other(of_boxes, of_masks):
    for report, words in (
        (of_boxes[0], ("FROC curve", "6 mm apart", "false marks", "4 with a finding that nobody")),
        (
            of_masks[0],
            ("mean Dice", "HD95", "nothing drawn", "How alike readers drew", "STAPLE on voxels"),
        ),
    ):
        raw = report.model_dump_json().encode()
        key = signature_of("coordinator")
        sealed = Signature(
            public_key=key.public_key().public_bytes_raw().hex(),
            signature=key.sign(report_statement(raw)).hex(),
        ).model_dump_json()
        page = draw(check(raw, sealed.encode(), {}), sha256(raw).hexdigest())
        assert all(word in page for word in words)
        assert "nan" not in page

        altered = json.loads(raw)
        place = altered.get("detection") or altered["overlap"]
        place["positives"] += 1
        forged = json.dumps(altered).encode()
        signed = json.loads(sealed) | {"signature": key.sign(report_statement(forged)).hex()}
        with pytest.raises(IntegrityFault, match="not those of the hospitals"):
            check(forged, json.dumps(signed).encode(), {})


def test_the_centre_refuses_sums_that_cannot_be():
    honest = boxes(searched(1, 80)), masks(drawn(3, 80))

    def sound(said):
        raw = said.SerializeToString(deterministic=True)
        key = signature_of("x")
        return are_sound(
            job_pb2.TaskOutcome(
                task_id="t", statistics=raw, statistics_key=key.public_key().public_bytes_raw(),
                statistics_signature=key.sign(statistics_statement("t", raw)),
            )
        )  # fmt: skip

    assert all(map(sound, honest))
    for said, change in (
        (honest[0], lambda said: said.detections[0].hits.append(1)),
        (honest[0], lambda said: setattr(said.detections[0], "lesions", 0)),
        (honest[0], lambda said: said.overlaps.append(honest[1].overlaps[0])),
        (honest[1], lambda said: setattr(said.overlaps[0], "positives", 1)),
        (honest[1], lambda said: setattr(said.overlaps[0], "dice_sum2", 0)),
        (honest[1], lambda said: said.voxel_readers.voxels.append(1)),
    ):
        other = job_pb2.EvaluationStatistics.FromString(said.SerializeToString())
        change(other)
        assert not sound(other)
    assert not sound(job_pb2.EvaluationStatistics(look=1))


def test_a_product_pays_for_the_marks_it_makes():
    patients = list(searched(1, 80))
    silent = [
        Searched(search([around((0.0, 0.0, 0.0))] * one.found.lesions, [], BOXES.hit), None,
                 one.positive, one.groups)
        for one in patients
    ]  # fmt: skip

    nothing, something = statistics_bits(boxes(silent)), statistics_bits(boxes(patients))

    marks = sum(int(one.found.hits[0] + one.found.marks[0]) for one in patients)
    assert nothing < 50  # who was declined, and five noughts a cell
    assert something > marks


def test_a_report_of_scores_is_written_as_its_first_readers_know_it(of_boxes):
    scores, truth, sexes = patients(1, 60)
    report = build(evidence([released("ankang", statistics(scores, truth, sexes))]))

    written = json.loads(report.model_dump_json())

    newer = {"detection", "froc", "overlap", "reader_dice", "voxel_readers", "predictions", "hit",
             "patients_unreferenced"}  # fmt: skip
    parts = (written, written["sites"][0], written["flow"], written["evidence"]["protocol"])
    assert all(newer.isdisjoint(part) for part in parts)
    assert Report.model_validate_json(json.dumps(written)) == report
    boxes_too = json.loads(of_boxes[0].model_dump_json())
    assert boxes_too["evidence"]["protocol"]["predictions"] == "boxes"
    assert Report.model_validate_json(json.dumps(boxes_too)) == of_boxes[0]
