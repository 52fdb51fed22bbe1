"""Numbers of a case that everybody reads the same way: of its header, and of its picture."""

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
DAYS = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}  # PS3.5 6.2, VR AS
SEXES = {"M": 0.0, "F": 1.0}
BODY_SHARE, WIDTH = 0.9, 5


def values_of(cohort: Any, names: list[str]) -> Iterator[tuple[Any, Array]]:
    """Yield every case that can be read with its features in order; NaN where a header is silent.

    Pictures are decoded only where a feature asks for them.
    """
    if any(name in OF_VOLUME for name in names):
        for case, volume in cohort.volumes():
            yield case, _measured(case, names, volume.values)
    else:
        for case in cohort:
            yield case, _measured(case, names, None)


def _measured(case: Any, names: list[str], volume: Array | None) -> Array:
    header = _header(case) if any(name in OF_HEADER for name in names) else None
    found = []
    for name in names:
        if name == "Label":
            found.append(float("nan") if case.label is None else float(case.label))
        elif name in OF_HEADER:
            found.append(OF_HEADER[name](header))
        elif volume is not None:
            found.append(float(OF_VOLUME[name](volume)))
    return np.array(found, float)


def _header(case: Any) -> Any:
    import pydicom

    try:
        return pydicom.dcmread(case.files[0], stop_before_pixels=True)
    except Exception as fault:  # noqa: BLE001 - pydicom raises anything; silence is an answer here
        sys.stderr.write(f"{case.name} has no header to read: {type(fault).__name__}\n")
        return pydicom.Dataset()


def _age(header: Any) -> float:
    text = str(header.get("PatientAge") or "")
    known = text[:-1].isdigit() and text[-1:] in DAYS
    return float(text[:-1]) / DAYS[text[-1]] if known else float("nan")


def _sex(header: Any) -> float:
    return SEXES.get(str(header.get("PatientSex") or ""), float("nan"))


def _number(keyword: str) -> Callable[[Any], float]:
    def read(header: Any) -> float:
        found = header.get(keyword)
        first = found[0] if isinstance(found, list) or hasattr(found, "__len__") else found
        try:
            return float(first)
        except (TypeError, ValueError):
            return float("nan")

    return read


def bright_spot(volume: Array) -> float:
    """Return how far the brightest spot of 5 x 5 pixels stands out of the body's median."""
    body = volume > np.percentile(volume, 25)
    centred = np.where(body, volume - np.median(volume[body]) if body.any() else 0.0, 0.0)
    total, share = centred, body.astype(float)
    for axis in (-2, -1):
        total, share = _box(total, axis), _box(share, axis)
    inner = share > BODY_SHARE * WIDTH**2
    return float((total[inner] / share[inner]).max()) if inner.any() else 0.0


def _box(values: Array, axis: int) -> Array:
    """Sum over a window of WIDTH along one axis, zeros beyond the edge."""
    half, length = WIDTH // 2, values.shape[axis]
    padding = [(0, 0)] * values.ndim
    padding[axis] = (half + 1, half)
    running = np.cumsum(np.pad(values, padding), axis)
    upper = np.take(running, range(WIDTH, WIDTH + length), axis)
    box: Array = upper - np.take(running, range(length), axis)
    return box


OF_HEADER: Mapping[str, Callable[[Any], float]] = {
    "PatientAge": _age,
    "PatientSex": _sex,
    "SliceThickness": _number("SliceThickness"),
    "PixelSpacing": _number("PixelSpacing"),
    "Rows": _number("Rows"),
}
OF_VOLUME: Mapping[str, Callable[[Array], float]] = {
    "Mean": lambda volume: float(np.mean(volume)),
    "Deviation": lambda volume: float(np.std(volume)),
    "Percentile1": lambda volume: float(np.percentile(volume, 1)),
    "Percentile99": lambda volume: float(np.percentile(volume, 99)),
    "BrightSpot": bright_spot,
    "Slices": lambda volume: float(len(volume)),
}
FEATURES = ("Label", *OF_HEADER, *OF_VOLUME)

sys.modules.setdefault("radfed_features", sys.modules[__name__])
