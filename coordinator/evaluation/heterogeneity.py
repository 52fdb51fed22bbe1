"""Sites side by side: the within-site AUC, and how much more the sites differ than by chance."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from coordinator.evaluation.pool import Z95, Auc


@dataclass(frozen=True, slots=True)
class WithinSite:
    """Sites' AUCs combined, each case compared with cases of its own hospital only.

    On the logit scale with DeLong's variances; random effects by DerSimonian and Laird (1986).
    """

    sites: int
    value: float
    low: float
    high: float
    q: float  # Cochran's
    p: float
    i2: float
    tau2: float  # on the logit scale
    prediction_low: float | None  # where a new site's AUC is expected; from three sites up
    prediction_high: float | None


def within_site(aucs: Mapping[str, Auc | None]) -> WithinSite | None:
    """Combine the sites whose AUC has a variance; None where fewer than two have one."""
    usable = [
        auc
        for auc in aucs.values()
        if auc is not None and 0 < auc.value < 1 and math.isfinite(auc.variance) and auc.variance
    ]
    if len(usable) < 2:  # noqa: PLR2004 - nothing to compare
        return None
    value = np.array([auc.value for auc in usable])
    logit = np.log(value / (1 - value))
    variance = np.array([auc.variance for auc in usable]) / (value * (1 - value)) ** 2
    q, tau2 = _dersimonian_laird(logit, variance)
    freedom = len(usable) - 1
    weight = 1 / (variance + tau2)
    middle = float(weight @ logit / weight.sum())
    half = Z95 / math.sqrt(weight.sum())
    low, high = _prediction(middle, float(1 / weight.sum()), tau2, len(usable))
    return WithinSite(
        sites=len(usable),
        value=_inverse(middle),
        low=_inverse(middle - half),
        high=_inverse(middle + half),
        q=q,
        p=_chi_squared_above(q, freedom),
        i2=max(0.0, (q - freedom) / q) if q > 0 else 0.0,
        tau2=tau2,
        prediction_low=low,
        prediction_high=high,
    )


def _dersimonian_laird(
    effect: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]",
    variance: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]",
) -> tuple[float, float]:
    weight = 1 / variance
    fixed = weight @ effect / weight.sum()
    q = float(weight @ (effect - fixed) ** 2)
    scale = float(weight.sum() - (weight**2).sum() / weight.sum())
    return q, max(0.0, (q - (len(effect) - 1)) / scale)


def _prediction(
    middle: float, squared_error: float, tau2: float, sites: int
) -> tuple[float | None, float | None]:
    """Return Higgins, Thompson and Spiegelhalter's interval (2009), with k - 2 degrees."""
    if sites < 3:  # noqa: PLR2004 - no degree of freedom is left
        return None, None
    from scipy.stats import t

    half = float(t.ppf(0.975, sites - 2)) * math.sqrt(tau2 + squared_error)
    return _inverse(middle - half), _inverse(middle + half)


def _chi_squared_above(value: float, freedom: int) -> float:
    from scipy.stats import chi2

    return float(chi2.sf(value, freedom))


def _inverse(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
