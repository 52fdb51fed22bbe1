"""Jobs that run the hospital's own code: which settings and which tensors each of them has."""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from protos.tensors import Schema

# As the sandbox's own library measures them; a test holds the two lists together.
FEATURES = (
    "Label", "PatientAge", "PatientSex", "SliceThickness", "PixelSpacing", "Rows",
    "Mean", "Deviation", "Percentile1", "Percentile99", "BrightSpot", "Slices",
)  # fmt: skip
FAMILIES = ("binomial", "gaussian", "poisson")
BINS_AT_MOST = 1000
Settings = Mapping[str, Any]
Shapes = dict[str, tuple[int, ...]]


def fault_in(form: str, config: Settings, weights: Schema) -> str:
    """Say what of a manifest does not fit its form; empty where all does."""
    known = {"features", "minimum", "maximum", *MORE[form]}
    if odd := next((name for name in config if name not in known), None):
        return f"`config` of form {form} has no `{odd}`"
    if fault := _ranges(config) or _special(form, config):
        return fault
    wanted = SHAPES[form](config)
    found = {name: spec.shape for name, spec in weights.items()}
    if found != wanted:
        said = ", ".join(f"{name} {list(shape)}" for name, shape in wanted.items())
        return f"a job of form {form} with these features declares exactly: {said}"
    return ""


def _ranges(config: Settings) -> str:
    """Demand features by name and a range for each, which bounds what one patient can move."""
    features = config.get("features")
    if not isinstance(features, tuple) or not features or len(set(features)) < len(features):
        return "`config.features` is a list of features, each once"
    if odd := next((each for each in features if each not in FEATURES), None):
        return f"`{odd}` is no feature: {', '.join(FEATURES)}"
    ends = [config.get("minimum"), config.get("maximum")]
    if not all(isinstance(end, tuple) and len(end) == len(features) for end in ends):
        return "`config.minimum` and `config.maximum` have one number for each feature"
    low, high = ends
    assert isinstance(low, tuple)
    assert isinstance(high, tuple)
    if not all(_is_number(a) and _is_number(b) and a < b for a, b in zip(low, high, strict=True)):
        return "each `config.minimum` is a number below its `config.maximum`"
    return ""


def _special(form: str, config: Settings) -> str:
    bins = config.get("bins")
    if form == "histogram" and not (type(bins) is int and 1 <= bins <= BINS_AT_MOST):
        return f"`config.bins` is a whole number of 1 to {BINS_AT_MOST}"
    if form == "glm" and config.get("family") not in FAMILIES:
        return f"`config.family` is one of: {', '.join(FAMILIES)}"
    if form == "glm" and config.get("target", "Label") not in FEATURES:
        return f"`config.target` is no feature: {', '.join(FEATURES)}"
    steps, softness = config.get("steps", 10), config.get("C", 1.0)
    if not (type(steps) is int and steps >= 1 and _is_number(softness) and softness > 0):
        return "`config.steps` is a whole number of 1 and more, `config.C` a number above 0"
    return ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _moments(config: Settings) -> Shapes:
    return dict.fromkeys(("present", "first", "second"), (len(config["features"]),))


def _histogram(config: Settings) -> Shapes:
    return {"shares": (len(config["features"]), config["bins"] + 1)}


def _glm(config: Settings) -> Shapes:
    many = len(config["features"]) + 1  # the intercept comes first
    return {"coefficients": (many,), "gradient": (many,), "information": (many, many)}


def _logistic(config: Settings) -> Shapes:
    return {"coefficients": (len(config["features"]),), "intercept": (1,)}


SHAPES: Mapping[str, Callable[[Settings], Shapes]] = {
    "moments": _moments,
    "histogram": _histogram,
    "glm": _glm,
    "logistic": _logistic,
}
MORE = {
    "moments": (),
    "histogram": ("bins",),
    "glm": ("family", "target"),
    "logistic": ("steps", "C"),
}
