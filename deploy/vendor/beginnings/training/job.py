"""A small, honest detector: one measurement of a CT series, and a logistic regression."""

import numpy as np

BODY_HU, WIDTH = -300.0, 5
STEPS, RATE = 200, 0.3


def predict(cohort, weights, config):
    """Return each case's probability of a finding; cases that cannot be read are skipped."""
    return {
        case.name: float(probability(measure(volume.values), weights))
        for case, volume in cohort.volumes()
    }


def train(cohort, weights, config):
    """Return the weights after some steps of gradient descent on this hospital's cases."""
    import radfed_job

    seen = [(measure(volume.values), case.label) for case, volume in cohort.volumes()]
    measured, truth = np.array(seen, float).T
    weight, bias = weights["weight"].astype(float)[0], weights["bias"].astype(float)[0]
    start, start_bias, mu = weight, bias, config.get("mu", 0.0)  # mu: of the strategy fedprox
    for _ in range(STEPS):
        error = 1.0 / (1.0 + np.exp(-(weight * measured + bias))) - truth
        weight -= RATE * ((error * measured).mean() + mu * (weight - start))
        bias -= RATE * (error.mean() + mu * (bias - start_bias))
    score = weight * measured + bias
    radfed_job.report("loss", float(np.mean(np.logaddexp(0.0, score) - truth * score)))
    return {"weight": np.array([weight], np.float32), "bias": np.array([bias], np.float32)}


def measure(volume):
    """Return how far the brightest spot stands out of the body, in units of 20 HU."""
    body = volume > BODY_HU
    centred = np.where(body, volume - np.median(volume[body]), 0.0)
    total, share = centred, body.astype(float)
    for axis in (1, 2):
        total, share = box(total, axis), box(share, axis)
    inner = body & (share > 0.9 * WIDTH**2)
    return float((total[inner] / share[inner]).max()) / 20.0


def box(values, axis):
    """Sum over a window of WIDTH along one axis, zeros beyond the edge."""
    half = WIDTH // 2
    padding = [(half + 1, half) if each == axis else (0, 0) for each in range(values.ndim)]
    running = np.cumsum(np.pad(values, padding), axis)
    length = values.shape[axis]
    upper = np.take(running, range(WIDTH, WIDTH + length), axis)
    return upper - np.take(running, range(length), axis)


def probability(measured, weights):
    score = measured * weights["weight"].astype(float)[0] + weights["bias"].astype(float)[0]
    return 1.0 / (1.0 + np.exp(-score))
