"""Jobs without a line of a vendor's: means and variances, histograms, and two regressions.

Each reads `config` of the reviewed manifest: `features` by name, and for each the `minimum` and
`maximum` it is cut to, which also bound what one patient can move.
"""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import radfed_features  # type: ignore[import-not-found] # it lies beside, inside

Array = np.ndarray[Any, np.dtype[Any]]
LONGEST_STEP = 3.0  # of one Newton step, in units of a feature's half range
RIDGE = 1e-9


class Table:
    """The cohort as numbers: one row a case, columns scaled from [minimum, maximum] to [-1, 1]."""

    def __init__(self, cohort: Any, config: Mapping[str, Any], target: str = "Label") -> None:
        names = [*config["features"], target]
        rows = list(radfed_features.values_of(cohort, names))
        self.cases = [case.name for case, _ in rows]
        table = np.array([values for _, values in rows], float).reshape(-1, len(names))
        low, high = (np.array(config[end], float) for end in ("minimum", "maximum"))
        self.scaled = 2 * (np.clip(table[:, :-1], low, high) - low) / (high - low) - 1
        self.target = table[:, -1]

    def __len__(self) -> int:
        return len(self.cases)

    def design(self) -> Array:
        """Return a column of ones and the features; a missing one stands at its range's middle."""
        return np.column_stack([np.ones(len(self)), np.nan_to_num(self.scaled)])


class Moments:
    """Shares that pool to means and variances: of cases that have a value, of x, and of x^2.

    mean = low + (high - low) (first / present + 1) / 2; the variance likewise from `second`.
    """

    def __init__(self, _manifest: Mapping[str, Any]) -> None:
        pass

    def analyse(self, cohort: Any, config: Mapping[str, Any]) -> dict[str, Array]:
        table = Table(cohort, config)
        known = np.nan_to_num(table.scaled)
        sums = {"present": ~np.isnan(table.scaled), "first": known, "second": known**2}
        return {name: _share(values, len(table)) for name, values in sums.items()}


class Histogram:
    """For each feature the share of cases in each bin of its range; last, of those without."""

    def __init__(self, _manifest: Mapping[str, Any]) -> None:
        pass

    def analyse(self, cohort: Any, config: Mapping[str, Any]) -> dict[str, Array]:
        table, bins = Table(cohort, config), int(config["bins"])
        shares = np.zeros((len(config["features"]), bins + 1))
        for feature, column in enumerate(table.scaled.T):
            known = column[~np.isnan(column)]
            places = np.minimum((known + 1) / 2 * bins, bins - 1).astype(int)
            shares[feature, :bins] = np.bincount(places, minlength=bins)
            shares[feature, bins] = len(column) - len(known)
        return {"shares": (shares / max(1, len(table))).astype(np.float32)}


class Glm:
    """A generalised linear model by Newton's method, its gradients summed over hospitals.

    The weights carry coefficients with the pooled gradient and information at them. Every hospital
    takes the same step from these, and adds its own gradient and information at the new place: what
    the centre averages is that of all patients together, and the fit is that of the pooled data.
    """

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        settings = manifest.get("config", {})
        self._family = str(settings["family"])
        self._target = str(settings.get("target", "Label"))
        if self._family == "binomial" and self._target == "Label":
            self.predict = self._predict

    def train(
        self, cohort: Any, weights: Mapping[str, Array], config: Mapping[str, Any]
    ) -> dict[str, Array]:
        at = stepped({name: values.astype(float) for name, values in weights.items()})
        table = Table(cohort, config, self._target)
        has = ~np.isnan(table.target)
        design, target = table.design()[has], table.target[has]
        mean, weight = MEANS[self._family](design @ at)
        many = max(1, len(target))
        return {
            "coefficients": at.astype(np.float64),
            "gradient": (design.T @ (target - mean) / many).astype(np.float64),
            "information": ((design.T * weight) @ design / many).astype(np.float64),
        }

    def _predict(
        self, cohort: Any, weights: Mapping[str, Array], config: Mapping[str, Any]
    ) -> dict[str, float]:
        table = Table(cohort, config, self._target)
        scores, _ = MEANS["binomial"](table.design() @ weights["coefficients"].astype(float))
        return dict(zip(table.cases, map(float, scores), strict=True))


class Logistic:
    """scikit-learn's logistic regression, some steps from the weights it is given; averaged."""

    def __init__(self, manifest: Mapping[str, Any]) -> None:
        self._names = tuple(manifest["weights"])

    def train(
        self, cohort: Any, weights: Mapping[str, Array], config: Mapping[str, Any]
    ) -> dict[str, Array]:
        table = Table(cohort, config)
        model = self._model(weights, config)
        model.fit(np.nan_to_num(table.scaled), table.target.astype(int))
        found = {"coefficients": model.coef_[0], "intercept": model.intercept_}
        return {name: found[name].astype(np.float32) for name in self._names}

    def predict(
        self, cohort: Any, weights: Mapping[str, Array], config: Mapping[str, Any]
    ) -> dict[str, float]:
        table = Table(cohort, config)
        model = self._model(weights, config)
        if not table.cases:
            return {}
        scores = model.predict_proba(np.nan_to_num(table.scaled))[:, 1]
        return dict(zip(table.cases, map(float, scores), strict=True))

    def _model(self, weights: Mapping[str, Array], config: Mapping[str, Any]) -> Any:
        from sklearn.linear_model import LogisticRegression

        steps, softness = int(config.get("steps", 10)), float(config.get("C", 1.0))
        model = LogisticRegression(C=softness, max_iter=steps, warm_start=True)
        model.coef_ = weights["coefficients"].astype(float).reshape(1, -1)
        model.intercept_ = weights["intercept"].astype(float)
        model.classes_ = np.array([0, 1])
        return model


def stepped(weights: Mapping[str, Array]) -> Array:
    """Return the coefficients one Newton step on; from all zeros there is none."""
    at: Array = weights["coefficients"]
    information: Array = weights["information"]
    if not np.any(information):
        return at
    soft = information + RIDGE * np.trace(information) * np.eye(len(at))
    step: Array = np.linalg.lstsq(soft, weights["gradient"], rcond=None)[0]
    longest = float(np.abs(step).max())
    shorter = min(1.0, LONGEST_STEP / longest) if longest else 1.0
    return np.asarray(at + step * shorter)


def _binomial(linear: Array) -> tuple[Array, Array]:
    mean = 1.0 / (1.0 + np.exp(-np.clip(linear, -30, 30)))
    return mean, mean * (1 - mean)


def _poisson(linear: Array) -> tuple[Array, Array]:
    mean = np.exp(np.clip(linear, -30, 30))
    return mean, mean


def _gaussian(linear: Array) -> tuple[Array, Array]:
    return linear, np.ones_like(linear)


def _share(values: Array, cases: int) -> Array:
    share: Array = values.sum(axis=0) / max(1, cases)
    return share.astype(np.float32)


MEANS = {"binomial": _binomial, "gaussian": _gaussian, "poisson": _poisson}
FORMS = {"moments": Moments, "histogram": Histogram, "glm": Glm, "logistic": Logistic}

sys.modules.setdefault("radfed_shipped", sys.modules[__name__])
