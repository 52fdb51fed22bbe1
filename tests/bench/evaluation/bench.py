"""`bench evaluation`: whether intervals cover as often as they say, and what pooling loses.

Nothing is timed: these are simulations whose truth is known. A coverage counts every simulation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from coordinator.evaluation.calibration import calibrate
from coordinator.evaluation.comparison import Joint, compare
from coordinator.evaluation.froc import FrocSums, froc
from coordinator.evaluation.heterogeneity import within_site
from coordinator.evaluation.intervals import Confusion, at_threshold
from coordinator.evaluation.pool import Histogram, auc, pool
from protos.scores import BINS, JOINT, JOINT_BINS, LOGIT_EDGES
from tests.bench.evaluation import paired
from tests.bench.registry import Terms
from tests.bench.rows import Figures, Goal, Row

SIZES, AREAS = (500, 5000), (0.7, 0.8, 0.9, 0.95)
PREVALENCE = 0.3
SITES = 400
OURS = "radfed"
SIMULATIONS, QUICK = 2000, 400
LEAST, MOST = 93.5, 96.5
CORRELATION = 0.6  # between two products' scores of one patient
Covers = dict[str, bool | None]


@dataclass(frozen=True, slots=True)
class Truth:
    """Two normal distributions one apart from the other: every measure of them is known."""

    area: float

    @property
    def separation(self) -> float:
        return math.sqrt(2) * float(norm.ppf(self.area))

    def draw(self, rng: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return scores on the logit scale, calibrated, and the truth."""
        positive = rng.random(number) < PREVALENCE
        seen = rng.normal(0, 1, number) + self.separation * positive
        return self.logit(seen), positive

    def logit(self, seen: np.ndarray) -> np.ndarray:
        """Return the logit of the probability that what was seen means the finding."""
        odds = math.log(PREVALENCE / (1 - PREVALENCE))
        return odds + self.separation * seen - self.separation**2 / 2

    @property
    def threshold(self) -> float:
        """Half way between the classes, on the logit scale."""
        return float(self.logit(np.array(self.separation / 2)))

    @property
    def hit_rate(self) -> float:
        return float(norm.cdf(self.separation / 2))  # and the specificity, by symmetry


def run(terms: Terms) -> list[Row]:
    figures, goals = Figures("evaluation"), []
    simulations = QUICK if terms.quick else SIMULATIONS
    for size in SIZES:
        for area in AREAS:
            case = f"n {size}, AUC {area}"
            if terms.runs(case):
                terms.say(f"{case}: {simulations} simulations")
                goals += _cover(figures, case, simulations, lambda r, a=area, n=size: _one(r, a, n))
    if terms.runs(case := "FROC, 200 patients"):
        terms.say(f"{case}: {simulations} simulations")
        goals += _cover(figures, case, simulations, _froc)
    if terms.runs(case := "two finders, 160 patients"):
        terms.say(f"{case}: {simulations} simulations")
        goals += _cover(figures, case, simulations // 2, paired.covers)  # each has 800 resamples
    if terms.runs(case := "8 sites, within-site AUC"):
        terms.say(f"{case}: {simulations} simulations")
        # No goal: where sites differ by chance alone, random effects are known to cover more.
        _cover(figures, case, simulations, _sites)
    if terms.runs("pooled"):
        goals.append(_pooling(figures, 5 if terms.quick else 20))
    return figures.rows(goals=goals)


def _cover(
    figures: Figures, case: str, simulations: int, once: Callable[[np.random.Generator], Covers]
) -> list[Goal]:
    """Count how often each interval holds the truth; the goal allows for fewer simulations."""
    held: dict[str, list[bool]] = {}
    for seed in range(simulations):
        for name, covers in once(np.random.default_rng([seed, crc32(case.encode())])).items():
            if covers is not None:
                held.setdefault(name, []).append(covers)
    slack = 0.0 if simulations >= SIMULATIONS else 1.5
    for name, found in held.items():
        figures.add(case, OURS, name, "% covered", 100 * float(np.mean(found)))
    return [Goal(case, OURS, name, at_least=LEAST - slack, at_most=MOST + slack) for name in held]


def _one(rng: np.random.Generator, area: float, number: int) -> Covers:
    truth = Truth(area)
    logits, positive = truth.draw(rng, number)
    histogram = _histogram(logits, positive)
    found, calibrated = auc(histogram), calibrate(histogram)
    called = logits >= truth.threshold
    table = Confusion(
        int((called & positive).sum()), int((~called & positive).sum()),
        int((called & ~positive).sum()), int((~called & ~positive).sum()),
    )  # fmt: skip
    shares = at_threshold(table)
    other = truth.logit(
        norm.ppf(np.clip(rng.random(number), 1e-12, 1)) * math.sqrt(1 - CORRELATION**2)
        + CORRELATION * (_seen(logits, truth) - truth.separation * positive)
        + truth.separation * positive
    )
    paired = compare(_joint(logits, other, positive))
    return {
        "AUC (DeLong)": found and found.low <= area <= found.high,
        "sensitivity (Wilson)": _holds(shares["sensitivity"], truth.hit_rate),
        "specificity (Wilson)": _holds(shares["specificity"], truth.hit_rate),
        "calibration slope": _holds(calibrated and calibrated.slope, 1.0),
        "calibration intercept": _holds(calibrated and calibrated.intercept, 0.0),
        "AUC difference (paired DeLong)": _holds(paired, 0.0),
    }


def _froc(rng: np.random.Generator) -> Covers:
    """Lesions of one patient are found or missed together: plain intervals would be too short."""
    lesions = rng.integers(0, 6, 200)
    luck = rng.beta(2, 1, 200)  # its mean is the sensitivity
    hits, marks = rng.binomial(lesions, luck), rng.poisson(rng.gamma(2, 0.5, 200))
    sums = FrocSums(
        200, int(lesions.sum()), int((lesions**2).sum()), (int(hits.sum()),),
        (int((hits**2).sum()),), (int((hits * lesions).sum()),), (int(marks.sum()),),
        (int((marks**2).sum()),),
    )  # fmt: skip
    curve = froc(sums)
    point = curve.points[0] if curve else None
    return {
        "lesion sensitivity (clusters)": _holds(point, 2 / 3),
        "false marks (clusters)": point and point.false_marks_low <= 1 <= point.false_marks_high,
    }


def _sites(rng: np.random.Generator) -> Covers:
    truth = Truth(0.85)
    found = within_site({str(i): auc(_histogram(*truth.draw(rng, 250))) for i in range(8)})
    return {"AUC (random effects, no spread)": _holds(found, 0.85)}


def _pooling(figures: Figures, repeats: int) -> Goal:
    """Compare what binned counts of 400 sites give with the AUC of all scores in one table."""
    case, measure = f"pooled AUC of {SITES} sites", "largest distance from the exact AUC"
    largest = 0.0
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        sites = {}
        for number in range(SITES):
            truth = Truth(float(rng.uniform(0.7, 0.95)))
            logits, positive = truth.draw(rng, int(rng.integers(30, 300)))
            sites[str(number)] = (logits + rng.normal(0, 0.5), positive)
        found = pool({name: _histogram(*drawn) for name, drawn in sites.items()}, BINS).auc
        scores, truths = (np.concatenate(part) for part in zip(*sites.values(), strict=True))
        assert found is not None
        largest = max(largest, abs(found.value - roc_auc_score(truths, scores)))
    figures.add(case, OURS, measure, "AUC", largest)
    return Goal(case, OURS, measure, at_most=0.0005)


def _seen(logits: np.ndarray, truth: Truth) -> np.ndarray:
    odds = math.log(PREVALENCE / (1 - PREVALENCE))
    seen: np.ndarray = (logits - odds + truth.separation**2 / 2) / truth.separation
    return seen


def _histogram(logits: np.ndarray, positive: np.ndarray) -> Histogram:
    bins = np.searchsorted(LOGIT_EDGES, logits, side="right")
    counts = [np.bincount(bins[positive == side], minlength=BINS) for side in (True, False)]
    return Histogram(*(side.tolist() for side in counts))


def _joint(first: np.ndarray, second: np.ndarray, positive: np.ndarray) -> Joint:
    rows, columns = (
        np.searchsorted(LOGIT_EDGES, logits, side="right") // JOINT for logits in (first, second)
    )
    tables = []
    for side in (True, False):
        table = np.zeros((JOINT_BINS, JOINT_BINS), int)
        np.add.at(table, (rows[positive == side], columns[positive == side]), 1)
        tables.append(table)
    return Joint(*tables)


def _holds(interval: object, truth: float) -> bool | None:
    if interval is None:
        return None
    return bool(interval.low <= truth <= interval.high)  # type: ignore[attr-defined]  # each kind has both
