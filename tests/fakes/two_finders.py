"""Two products and the patients both were tried on; what they find is drawn, and so is a truth."""

import numpy as np

from gateway.desk.beside import paired_detections, paired_overlaps
from gateway.desk.localising import _detection, _overlap
from gateway.evaluate.cells import ALL
from gateway.evaluate.detections import Mark, Searched, Searches
from gateway.evaluate.overlap import Overlapped, Overlaps
from gateway.evaluate.paired_boxes import paired_searches, search_both
from gateway.evaluate.paired_masks import paired_dice
from gateway.model import Box
from protos.evaluation import Hit
from protos.v1 import job_pb2

HIT = Hit(by="distance", at=6)
THRESHOLDS = 0.5, 0.45
OTHER = bytes([14] * 32)  # the other product's bundle


def around(centre):
    return Box(tuple(at - 5 for at in centre), tuple(at + 5 for at in centre))


def pairs(rng, number, skill=(0.85, 0.7), false=(0.8, 0.8)):
    """Yield (positive, PairedFound): how hard a patient is, each product feels, and both do."""
    for _ in range(number):
        noisy, hard = rng.gamma(2, 0.5), rng.normal(0, 0.8) + rng.normal(0, 1.2, 2)
        places = [(60.0 * at, 0.0, 0.0) for at in range(int(rng.poisson(1.3)))]
        marks = [
            _marks(rng, places, skill[each], false[each] * noisy, hard[each]) for each in (0, 1)
        ]
        findings = [around(place) for place in places]
        yield bool(places), search_both(findings, tuple(marks), HIT, THRESHOLDS)


def _marks(rng, places, skill, false, hard):
    chance = 1 / (1 + np.exp(-(np.log(skill / (1 - skill)) - hard)))
    found = [
        Mark(around(place), float(rng.beta(4, 2))) for place in places if rng.random() < chance
    ]
    return found + [
        Mark(around((0.0, 300.0 + 60 * at, 0.0)), float(rng.beta(2, 4)))
        for at in range(int(rng.poisson(false)))
    ]


def dices(rng, number, better=0.02):
    """Return the Dice of two products on each of so many patients; a tenth are alike."""
    hard = rng.normal(0, 0.06, number)
    one = np.clip(0.82 + better + hard + rng.normal(0, 0.04, number), 0, 1)
    other = np.clip(0.82 + hard + rng.normal(0, 0.04, number), 0, 1)
    other[::10] = one[::10]
    return one, other


def resampled():
    return np.random.default_rng(2026)


def of_boxes(listed, other=OTHER):
    """Return a hospital's statistics of boxes, with the comparison."""
    whole = Searches()
    for positive, found in listed:
        whole.add(Searched(found.first, None, positive, {}))
    said = job_pb2.EvaluationStatistics(protocol_digest=b"p" * 32, look=1, looks_left=2)
    said.detections.append(_detection(ALL, whole))
    said.comparison.other_bundle = other
    said.comparison.boxes.CopyFrom(paired_detections(paired_searches(listed, resampled())))
    return said


def of_masks(one, second, other=OTHER):
    """Return a hospital's statistics of masks, with the comparison."""
    whole = Overlaps()
    for value in one:
        whole.add(Overlapped(None, positive=True, groups={}, drew=True, dice=value, hd95=1.0))
    said = job_pb2.EvaluationStatistics(protocol_digest=b"p" * 32, look=1, looks_left=2)
    said.overlaps.append(_overlap(ALL, whole))
    said.comparison.other_bundle = other
    said.comparison.masks.CopyFrom(paired_overlaps(paired_dice(zip(one, second, strict=True))))
    return said
