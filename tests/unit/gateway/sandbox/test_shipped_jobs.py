"""The hospital's own jobs: what is pooled is what the pooled patients would give."""

import importlib.util
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.linear_model import LogisticRegression

import gateway.sandbox
from deploy.vendor.tables import table_of
from gateway.errors import ConfigurationFault
from protos.job_manifest import JobManifest
from protos.shipped import FEATURES, SHAPES
from protos.tensors import encode

RUNTIME = Path(gateway.sandbox.__file__).parent / "runtime"
SETTINGS = {
    "features": ("PatientAge", "Mean"),
    "minimum": (20.0, -2.0),
    "maximum": (80.0, 2.0),
    "bins": 5,
    "family": "binomial",
}


@pytest.fixture(scope="module")
def shipped():
    """Return the runtime's module, as it is found inside a sandbox."""
    for name in ("radfed_features", "radfed_shipped"):
        spec = importlib.util.spec_from_file_location(name, RUNTIME / f"{name}.py")
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    yield module
    for name in ("radfed_features", "radfed_shipped"):
        del sys.modules[name]


@dataclass(frozen=True)
class ACase:
    name: str


class AHospital:
    """Cases whose features are numbers already: how they are read is tested elsewhere."""

    def __init__(self, rows):
        self.rows = rows


@pytest.fixture
def hospitals(shipped, monkeypatch):
    """Return three hospitals of unlike patients, and all their rows together."""

    def values_of(cohort, _names):
        return [(ACase(str(number)), row) for number, row in enumerate(cohort.rows)]

    monkeypatch.setattr(shipped.radfed_features, "values_of", values_of)
    draw, made = np.random.default_rng(3), []
    for count, shift in ((40, -0.5), (90, 0.0), (25, 0.8)):
        age, mean = draw.uniform(20, 80, count), draw.normal(shift, 0.6, count).clip(-2, 2)
        log_odds = 0.05 * (age - 50) + 1.5 * mean
        label = (draw.random(count) < 1 / (1 + np.exp(-log_odds))).astype(float)
        made.append(AHospital(np.column_stack([age, mean, label])))
    return made, np.vstack([each.rows for each in made])


def pooled(parts, hospitals):
    weights = [len(each.rows) for each in hospitals]
    return {
        name: np.average([part[name].astype(float) for part in parts], axis=0, weights=weights)
        for name in parts[0]
    }


def test_means_and_variances_are_those_of_all_patients(shipped, hospitals):
    made, rows = hospitals
    made[0].rows[:5, 0] = np.nan  # an age that no header says

    found = pooled([shipped.Moments({}).analyse(each, SETTINGS) for each in made], made)

    rows = np.vstack([each.rows for each in made])
    low, half = np.array(SETTINGS["minimum"]), np.array([30.0, 2.0])
    first, second = found["first"] / found["present"], found["second"] / found["present"]
    assert np.allclose(low + half * (first + 1), np.nanmean(rows[:, :2], axis=0), atol=1e-4)
    variance = half**2 * (second - first**2)
    assert np.allclose(variance, np.nanvar(rows[:, :2], axis=0), rtol=1e-4)
    assert found["present"] == pytest.approx([150 / 155, 1.0])


def test_a_histogram_is_that_of_all_patients(shipped, hospitals):
    made, rows = hospitals
    made[1].rows[:9, 1] = np.nan
    rows = np.vstack([each.rows for each in made])

    found = pooled([shipped.Histogram({}).analyse(each, SETTINGS) for each in made], made)

    ages, _ = np.histogram(rows[:, 0], 5, (20, 80))
    assert np.allclose(found["shares"][0] * len(rows), [*ages, 0], atol=1e-3)
    assert found["shares"][1][-1] == pytest.approx(9 / 155, abs=1e-6)


@pytest.mark.parametrize("family", ["binomial", "gaussian", "poisson"])
def test_a_regression_fits_what_the_pooled_patients_would(shipped, hospitals, family):
    made, rows = hospitals
    settings = SETTINGS | {"family": family}
    weights = {name: np.zeros(shape) for name, shape in SHAPES["glm"](settings).items()}
    for _ in range(10):
        job = shipped.Glm({"config": settings})
        weights = pooled([job.train(each, weights, settings) for each in made], made)

    scaled = (rows[:, :2] - [50, 0]) / [30, 2]
    families = {
        "binomial": sm.families.Binomial(),
        "gaussian": sm.families.Gaussian(),
        "poisson": sm.families.Poisson(),
    }
    fit = sm.GLM(rows[:, 2], sm.add_constant(scaled), family=families[family]).fit(tol=1e-12)
    assert np.allclose(weights["coefficients"], fit.params, atol=1e-6)
    if family == "binomial":
        variances = np.diag(np.linalg.inv(weights["information"])) / len(rows)
        assert np.allclose(np.sqrt(variances), fit.bse, rtol=1e-4)


def test_a_logistic_regression_averages_near_the_pooled_one(shipped, hospitals):
    made, rows = hospitals
    manifest = {"weights": {"coefficients": {}, "intercept": {}}}
    settings = SETTINGS | {"steps": 50, "C": 10.0}
    weights = {"coefficients": np.zeros(2), "intercept": np.zeros(1)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is stopped early on purpose
        for _ in range(3):
            job = shipped.Logistic(manifest)
            weights = pooled([job.train(each, weights, settings) for each in made], made)

    scaled = (rows[:, :2] - [50, 0]) / [30, 2]
    fit = LogisticRegression(C=10.0).fit(scaled, rows[:, 2])
    assert np.allclose(weights["coefficients"], fit.coef_[0], rtol=0.25)
    scores = shipped.Logistic(manifest).predict(AHospital(rows), weights, settings)
    assert np.corrcoef(list(scores.values()), fit.predict_proba(scaled)[:, 1])[0, 1] > 0.98


def test_the_manifest_knows_the_features_that_are_measured(shipped):
    assert shipped.radfed_features.FEATURES == FEATURES
    assert set(shipped.FORMS) == set(SHAPES)


@pytest.mark.usefixtures("hospitals")
def test_a_hospital_of_nobody_adds_nothing_and_does_not_fail(shipped):
    nobody = AHospital(np.zeros((0, 3)))

    assert not shipped.Moments({}).analyse(nobody, SETTINGS)["first"].any()
    assert not shipped.Histogram({}).analyse(nobody, SETTINGS)["shares"].any()
    weights = {name: np.zeros(shape) for name, shape in SHAPES["glm"](SETTINGS).items()}
    assert not shipped.Glm({"config": SETTINGS}).train(nobody, weights, SETTINGS)["gradient"].any()


def a_result(form, tensors_of, tmp_path):
    """Write what a job of a form found; return its manifest and the file."""
    settings = {name: SETTINGS[name] for name in ("features", "minimum", "maximum")}
    settings |= {"histogram": {"bins": 5}, "glm": {"family": "binomial"}}.get(form, {})
    shapes = SHAPES[form](settings)
    manifest = JobManifest.model_validate(
        {
            "name": "x",
            "kind": "training" if form in ("glm", "logistic") else "analytics",
            "form": form,
            "purpose": "A test.",
            "label": "lesion",
            "cohort": [{"field": "Modality", "values": ["CT"]}],
            "config": settings,
            "weights": {name: {"shape": shape} for name, shape in shapes.items()},
        }
    )
    (tmp_path / "result").write_bytes(encode(tensors_of, manifest.weights))
    return manifest, tmp_path / "result"


def test_a_table_of_means_has_the_units_of_its_features(shipped, hospitals, tmp_path):
    made, rows = hospitals
    found = pooled([shipped.Moments({}).analyse(each, SETTINGS) for each in made], made)

    age, mean = table_of(*a_result("moments", found, tmp_path))

    assert age["mean"] == pytest.approx(rows[:, 0].mean(), rel=1e-4)
    assert mean["variance"] == pytest.approx(rows[:, 1].var(), rel=1e-3)


def test_a_table_of_a_histogram_has_every_bin(shipped, hospitals, tmp_path):
    made, _ = hospitals
    found = pooled([shipped.Histogram({}).analyse(each, SETTINGS) for each in made], made)

    rows = table_of(*a_result("histogram", found, tmp_path))

    assert [(row["from"], row["to"]) for row in rows[:2]] == [(20, 32), (32, 44)]
    assert rows[5]["from"] is None
    assert sum(row["share"] for row in rows[:6]) == pytest.approx(1.0)


def test_a_table_of_a_regression_has_the_units_of_its_features(tmp_path):
    found = {
        "coefficients": np.array([0.5, 1.5, 3.0]),
        "gradient": np.zeros(3),
        "information": np.zeros((3, 3)),
    }

    at, age, mean = table_of(*a_result("glm", found, tmp_path))

    def linear(x, y):
        return at["coefficient"] + x * age["coefficient"] + y * mean["coefficient"]

    assert linear(50, 0) == pytest.approx(0.5)
    assert linear(80, 0) == pytest.approx(2.0)
    assert linear(50, 2) == pytest.approx(3.5)


def test_what_is_not_a_jobs_result_is_refused(tmp_path):
    found = {"coefficients": np.zeros(2), "intercept": np.zeros(1)}
    manifest, file = a_result("logistic", found, tmp_path)
    file.write_bytes(b"no tensors")

    with pytest.raises(ConfigurationFault, match="not this job's result"):
        table_of(manifest, file)
    with pytest.raises(ConfigurationFault, match="cannot be read"):
        table_of(manifest, tmp_path / "absent")
