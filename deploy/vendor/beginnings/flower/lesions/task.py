"""The model, and how data are read: the app's own, and nothing of Flower's."""

import csv
import json
from pathlib import Path

import numpy as np
import pydicom

BODY_HU, WIDTH = -300.0, 5


def load_data(path):
    """Return a measurement and the label of every case below a node's `data-path`."""
    folder = Path(path)
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        labels = {row["case"]: int(row["label"]) for row in csv.DictReader(file)}
    cases = json.loads((folder / "cohort.json").read_text("utf-8"))["training"]
    found = []
    for case in cases:
        try:
            volume = read(folder / name for name in case["files"])
        except Exception as fault:  # noqa: BLE001 - a broken series is left out, whatever it raises
            print(f"{case['case']} cannot be read: {type(fault).__name__}")
            continue
        found.append((measure(volume), labels[case["case"]]))
    measured, truth = np.array(found, float).T
    return measured, truth


def read(files):
    """Return a CT series as (z, y, x) in Hounsfield units."""
    slices = sorted((pydicom.dcmread(file) for file in files), key=_height)
    return np.stack([each.pixel_array * _slope(each) + _intercept(each) for each in slices])


def fit(measured, truth, weight, bias, config):
    """Return the weights after some steps of gradient descent."""
    for _ in range(int(config["steps"])):
        error = 1.0 / (1.0 + np.exp(-(weight * measured + bias))) - truth
        weight = weight - config["rate"] * (error * measured).mean()
        bias = bias - config["rate"] * error.mean()
    return weight.astype(np.float32), bias.astype(np.float32)


def loss(measured, truth, weight, bias):
    score = weight * measured + bias
    return float(np.mean(np.logaddexp(0.0, score) - truth * score))


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


def _height(dataset):
    return float(dataset.ImagePositionPatient[2])


def _slope(dataset):
    return float(dataset.get("RescaleSlope", 1) or 1)


def _intercept(dataset):
    return float(dataset.get("RescaleIntercept", 0) or 0)
