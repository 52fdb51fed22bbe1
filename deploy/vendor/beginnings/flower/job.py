"""Beside the Flower App, and not needed by it: scores of held-out cases, for the round's AUC."""

import numpy as np
from lesions.task import measure


def predict(cohort, weights, config):
    """Return each case's probability of a finding; cases that cannot be read are skipped."""
    return {case.name: score(volume.values, weights) for case, volume in cohort.volumes()}


def score(volume, weights):
    linear = measure(volume) * weights["weight"].astype(float)[0] + weights["bias"].astype(float)[0]
    return float(1.0 / (1.0 + np.exp(-linear)))
