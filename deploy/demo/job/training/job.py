"""A small, honest lesion detector: three measurements of a CT series and a logistic regression.

The measurements are in Hounsfield units: the brightest spot, the darkest spot, and the scanner's
noise. How bright a spot must be to mean something depends on the noise, which within one hospital
hardly varies: that is what a hospital cannot learn alone.
"""

import numpy as np

STEPS, RATE, DECAY = 20, 0.5, 1e-3
BODY_HU, CLIP_HU = -500.0, 150.0
# Fixed beforehand, so that no statistic of the data has to be agreed on: (value - centre) / width.
CENTRE_HU = np.array([13.0, 13.0, 20.0])
WIDTH_HU = np.array([5.0, 5.0, 3.0])
SMOOTHING = ((5, 1), (5, 2), (5, 1), (5, 2), (3, 0))  # (width, axis), in the order applied


def predict(cohort, weights, config):
    """Return each case's probability of a lesion."""
    return {
        case.name: float(_probability(measure(case.volume().values), weights)) for case in cohort
    }


def train(cohort, weights, config):
    """Return the weights after some steps of gradient descent on this hospital's cases."""
    import radfed_job

    measured = np.array([measure(case.volume().values) for case in cohort])
    truth = np.array([case.label for case in cohort], float)
    start, start_bias = weights["weight"].astype(float), weights["bias"].astype(float)
    weight, bias = start, start_bias
    pull = config.get("mu", 0.0)  # FedProx: not too far from where the federation is
    for _ in range(STEPS):
        error = _logistic(measured @ weight + bias[0]) - truth
        slope = measured.T @ error / len(truth) + DECAY * weight
        weight = weight - RATE * (slope + pull * (weight - start))
        bias = bias - RATE * (error.mean() + pull * (bias - start_bias))
    radfed_job.report("loss", _loss(measured @ weight + bias[0], truth))
    return {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}


def measure(volume):
    """Return how far the brightest and the darkest spot stand out, and the noise."""
    body = volume > BODY_HU
    centred = volume - np.median(volume[body])
    values = np.where(body, np.clip(centred, -CLIP_HU, CLIP_HU), 0.0).astype(float)
    total, share = values, body.astype(float)
    for width, axis in SMOOTHING:
        total, share = _box(total, width, axis), _box(share, width, axis)
    inner = body & (share > 0.5 * share.max())  # an edge averages too little to stand out by itself
    smooth = total[inner] / share[inner]
    noise = 1.4826 * np.median(np.abs(values[body]))  # the median deviation of a normal's 1 sigma
    return (np.array([smooth.max(), -smooth.min(), noise]) - CENTRE_HU) / WIDTH_HU


def _box(values, width, axis):
    """Sum over a window of odd width along one axis, zeros beyond the edge."""
    half = width // 2
    padding = [(half + 1, half) if each == axis else (0, 0) for each in range(values.ndim)]
    running = np.cumsum(np.pad(values, padding), axis)
    length = values.shape[axis]
    return np.take(running, range(width, width + length), axis) - np.take(
        running, range(length), axis
    )


def _probability(measured, weights):
    return _logistic(measured @ weights["weight"].astype(float) + float(weights["bias"][0]))


def _logistic(score):
    return 1.0 / (1.0 + np.exp(-score))


def _loss(score, truth):
    return float(np.mean(np.logaddexp(0.0, score) - truth * score))
