"""What a clipped and noised update can carry, and what it costs a patient: one formula for all.

Hospitals charge by it, a vendor foresees it, and a model's card adds it up.
"""

import math

NO_BOUND = -1.0
DELTA = 1e-6  # at which epsilon is reported


def leakage_bits(clip: float, sigma: float) -> float:
    """Return the most bits one release can carry, whatever the vendor's code hid in it.

    A Gaussian channel whose input has norm at most C: n/2 log2(1 + C^2/(n sigma^2)) for any number
    n of values stays below C^2/(2 sigma^2 ln 2). What is computed from its output adds nothing.
    """
    return clip**2 / (2 * sigma**2 * math.log(2)) if sigma > 0 else NO_BOUND


def rho_per_patient(clip: float, sigma: float) -> float:
    """Return the zCDP cost of one patient replaced: a clipped update can move by 2C."""
    return 2 * clip**2 / sigma**2 if sigma > 0 else math.inf


def epsilon(rho: float, delta: float = DELTA) -> float:
    """Return what zCDP of rho is as (epsilon, delta) (Bun and Steinke 2016, proposition 1.3)."""
    return rho + 2 * math.sqrt(rho * math.log(1 / delta))
