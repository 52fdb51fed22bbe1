import numpy as np
import pytest
from statsmodels.api import OLS, WLS

from coordinator.evaluation.froc import FrocSums, UnlikeSums, add, froc
from coordinator.evaluation.overlap import dice, dice_at_least, hd95, mean_dice
from gateway.evaluate.detections import COLUMNS, Mark, Searched, Searches, search
from gateway.evaluate.overlap import dice as dice_of
from gateway.evaluate.overlap import dice_counts, hd95_counts
from gateway.evaluate.overlap import hd95 as hd95_of
from gateway.model import Box
from protos.evaluation import Hit
from protos.scores import BINS, score_bin

HERE, THERE, NOWHERE = (0.0, 0.0, 0.0), (50.0, 0.0, 0.0), (0.0, 90.0, 0.0)


WITHIN = Hit(by="distance", at=10.0)


def a_box(centre):
    return Box(*(tuple(at + side for at in centre) for side in (-4.0, 4.0)))


def a_mark(centre, score):
    return Mark(a_box(centre), score)


def sums_of(patients, threshold=1.0):
    cell = Searches()
    for findings, marks in patients:
        found = search(findings, marks, WITHIN, threshold)
        cell.add(Searched(found, None, positive=bool(findings), groups={}))
    columns = {name: tuple(cell.columns[name][:BINS].tolist()) for name in COLUMNS}
    return FrocSums(sum(cell.size), cell.lesions, cell.lesions2, **columns)


def drawn(number, seed=6):
    """Return patients whose lesions go together: in some the product finds all, in some none."""
    rng = np.random.default_rng(seed)
    patients = []
    for _ in range(number):
        places = [(60.0 * i, 0.0, 0.0) for i in range(int(rng.poisson(1.5)))]
        luck = rng.random()
        marks = [a_mark(place, float(rng.beta(4, 2))) for place in places if rng.random() < luck]
        marks += [a_mark((0.0, 300.0 + 60 * i, 0.0), float(rng.beta(2, 4)))
                  for i in range(int(rng.poisson(1.0)))]  # fmt: skip
        patients.append(([a_box(place) for place in places], marks))
    return patients


def test_a_lesion_is_found_once_and_marks_on_it_are_not_false():
    findings = [a_box(HERE), a_box(THERE)]
    marks = [a_mark((1.0, 0, 0), 0.9), a_mark((2.0, 0, 0), 0.8), a_mark(NOWHERE, 0.7)]

    sums = sums_of([(findings, marks)])

    low, high = score_bin(0.5), score_bin(0.85)
    assert (sums.patients, sums.lesions, sums.lesions2) == (1, 2, 4)
    assert (sums.hits[low], sums.marks[low]) == (1, 1)
    assert (sums.hits[high], sums.marks[high]) == (1, 0)
    assert sums.hits[score_bin(0.95)] == 0


def test_intervals_are_cluster_robust_as_statsmodels_makes_them():
    patients = drawn(150)
    at = score_bin(0.5)

    point = froc(sums_of(patients)).points[at]

    lesions = np.array([len(findings) for findings, _ in patients])
    hits = np.array([sums_of([patient]).hits[at] for patient in patients])
    marks = np.array([sums_of([patient]).marks[at] for patient in patients])
    outcome = np.concatenate([[1] * h + [0] * (n - h) for h, n in zip(hits, lesions, strict=True)])
    group = np.repeat(np.arange(len(patients)), lesions)
    robust = OLS(outcome, np.ones(len(outcome))).fit(
        cov_type="cluster", cov_kwds={"groups": group, "use_correction": False}
    )
    m = len(patients)
    error = float(robust.bse[0]) * np.sqrt(m / (m - 1))
    assert point.sensitivity == pytest.approx(outcome.mean(), abs=1e-12)
    half = (np.log(point.high / (1 - point.high)) - np.log(point.low / (1 - point.low))) / 2
    mean = outcome.mean()
    assert half == pytest.approx(1.959963984540054 * error / (mean * (1 - mean)), abs=1e-9)
    plain = WLS(marks, np.ones(m)).fit()
    assert point.false_marks == pytest.approx(marks.mean(), abs=1e-12)
    assert point.false_marks_high - point.false_marks == pytest.approx(
        1.959963984540054 * float(plain.bse[0]), abs=1e-9
    )


def test_hospitals_sums_add_up_to_the_sums_of_all():
    patients = drawn(60)

    assert add([sums_of(patients[:20]), sums_of(patients[20:])]) == sums_of(patients)
    assert add([]) is None


def test_nobody_and_nothing_have_no_curve():
    assert froc(sums_of([])) is None
    assert froc(sums_of([([], [a_mark(HERE, 0.5)])] * 5)) is None
    perfect = froc(sums_of([([a_box(HERE)], [a_mark(HERE, 0.999)])] * 30))
    assert perfect.points[0].high == 1.0
    assert perfect.points[0].low < 0.9
    assert perfect.mean_sensitivity == 1.0


def test_other_thresholds_are_refused():
    odd = FrocSums(1, 1, 1, (1,), (1,), (1,), (0,), (0,))

    with pytest.raises(UnlikeSums):
        add([odd, sums_of(drawn(3))])
    assert len(sums_of(drawn(3)).hits) == BINS


def a_ball(radius, centre=16, size=32):
    z, y, x = np.ogrid[:size, :size, :size]
    return (z - centre) ** 2 + (y - centre) ** 2 + (x - centre) ** 2 <= radius**2


def test_dice_and_hd95_of_masks():
    ball, moved = a_ball(8), np.roll(a_ball(8), 3, axis=2)
    empty = np.zeros_like(ball)

    assert dice_of(ball, ball) == 1.0
    assert hd95_of(ball, ball, (1.0, 1.0, 1.0)) == 0.0
    assert dice_of(ball, moved) == 2 * (ball & moved).sum() / (ball.sum() + moved.sum())
    assert hd95_of(ball, moved, (1.0, 1.0, 1.0)) == pytest.approx(3.0, abs=0.2)
    assert hd95_of(ball, moved, (1.0, 1.0, 2.0)) > hd95_of(ball, moved, (1.0, 1.0, 1.0))
    assert hd95_of(ball, empty, (1.0, 1.0, 1.0)) is None
    assert (dice_of(empty, empty), dice_of(ball, empty)) == (1.0, 0.0)


def test_hd95_is_that_of_every_pair_of_surface_points():
    from scipy.ndimage import binary_erosion
    from scipy.spatial.distance import cdist

    ball, other = a_ball(6, size=24), a_ball(4, centre=14, size=24)
    spacing = (2.0, 0.7, 0.7)

    points = [np.argwhere(m & ~binary_erosion(m)) * spacing for m in (ball, other)]
    between = cdist(*points)
    expected = np.percentile(np.concatenate((between.min(1), between.min(0))), 95)
    assert hd95_of(ball, other, spacing) == pytest.approx(expected, abs=1e-9)


def test_distributions_are_known_to_within_a_bin():
    values = np.random.default_rng(8).beta(8, 2, 500)

    found = dice([dice_counts(values[:200]), dice_counts(values[200:])])

    for wanted, low, high in found.quantiles:
        assert low <= np.quantile(values, wanted, method="inverted_cdf") <= high
    reached = dice_at_least(found, 0.8)
    assert reached.count == (values >= 0.8).sum()
    assert hd95([hd95_counts([0.1, 400.0])]).quantiles[-1] == (0.95, 100.0, None)
    assert dice([]) is None


def test_mean_dice_is_scipys_with_students_interval():
    from scipy.stats import t

    values = np.round(np.random.default_rng(9).beta(8, 2, 80), 3)
    whole = (values * 1000).round().astype(int)

    found = mean_dice(80, int(whole.sum()), int((whole**2).sum()))

    low, high = t.interval(0.95, 79, loc=values.mean(), scale=values.std(ddof=1) / np.sqrt(80))
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high))
    assert mean_dice(1, 900, 810_000) is None


def test_sums_are_those_of_a_count_by_hand_at_every_threshold():
    patients = drawn(40, seed=11)
    sums = sums_of(patients, threshold=0.6)

    for at in (0.2, 0.5, 0.8):
        hits, false = [], []
        for findings, marks in patients:
            sure = [mark for mark in marks if score_bin(mark.score) >= score_bin(at)]
            apart = [
                [np.linalg.norm(np.add(m.box.low, 4.0) - np.add(f.low, 4.0)) for f in findings]
                for m in sure
            ]  # lesions lie 60 mm apart, so that no mark reaches two
            hits.append(sum(any(row[i] <= 10 for row in apart) for i in range(len(findings))))
            false.append(sum(all(away > 10 for away in row) for row in apart))
        bin_ = score_bin(at)
        assert sums.hits[bin_] == sum(hits)
        assert sums.hits2[bin_] == sum(h * h for h in hits)
        assert sums.marks[bin_] == sum(false)
        assert sums.marks2[bin_] == sum(f * f for f in false)
