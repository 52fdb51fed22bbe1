"""Two products on patients drawn from two hospitals whose whole population is known."""

from functools import cache

import numpy as np

from coordinator.evaluation.paired_places import boxes, masks
from gateway.desk.beside import paired_detections, paired_overlaps
from gateway.evaluate.paired_boxes import PairedFound, paired_searches
from gateway.evaluate.paired_masks import paired_dice
from protos.v1.job_pb2 import PairedDetections
from tests.fakes.two_finders import dices, pairs

POPULATION, DRAWN = 1500, 80  # at each hospital
SKILLS = ((0.85, 0.75), (0.7, 0.6))  # of both products, at either hospital
BETTER = 0.02
MEASURES = ("sensitivity", "false_marks", "mean_sensitivity")
Patients = list[tuple[bool, PairedFound]]


@cache
def population(number: int) -> tuple[list[Patients], dict[str, float]]:
    """Return both hospitals' patients and how far the products are apart on all of them."""
    rng = np.random.default_rng(11)
    found = [list(pairs(rng, number, skill, (0.8, 0.9))) for skill in SKILLS]
    whole = boxes([summed(patients, rng) for patients in found])
    assert whole is not None
    return found, {name: getattr(whole, name).difference for name in MEASURES}


def summed(patients: Patients, rng: np.random.Generator) -> PairedDetections:
    return paired_detections(paired_searches(patients, rng))


def covers(rng: np.random.Generator, number: int = POPULATION) -> dict[str, bool | None]:
    """Draw patients, compare, and say which intervals hold what is true."""
    found, truth = population(number)
    drawn = [[patients[at] for at in rng.integers(0, len(patients), DRAWN)] for patients in found]
    said = boxes([summed(patients, rng) for patients in drawn])
    one, other = dices(rng, 2 * DRAWN, BETTER)
    laid = masks([paired_overlaps(paired_dice(zip(one, other, strict=True)))])
    assert said is not None
    assert laid is not None
    assert laid.dice is not None
    held: dict[str, bool | None] = {
        f"difference of {name.replace('_', ' ')}": (
            getattr(said, name).low <= truth[name] <= getattr(said, name).high
        )
        for name in MEASURES
    }
    return held | {"difference of mean Dice": laid.dice.low <= 0.9 * BETTER <= laid.dice.high}
