"""A small honest vendor: a logistic regression on how bright the middle of a slice is."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protos import bundle
from protos.tensors import TensorSpec

JOB_TOML = """
name = "brightness"
kind = "training"
purpose = "Find bright squares in synthetic slices."
label = "nodule"
rounds = 3
clip = 1.0
sigma = 0.01
cohort = [{ field = "Modality", values = ["CT"] }]
weights.w = { shape = [2] }
metrics = [{ name = "loss", minimum = 0.0, maximum = 10.0, decimals = 2 }]
resources = { wall_seconds = 60, memory_mb = 1024 }
"""
JOB_PY = """
import numpy as np
import radfed_job

def feature(case):
    return (float(case.volume().values[..., 2:6, 2:6].mean()) - 130.0) / 30.0

def sigmoid(x):
    return 1 / (1 + np.exp(-x))

def predict(cohort, weights, config):
    a, b = weights["w"]
    return {case.name: float(sigmoid(a * feature(case) + b)) for case in cohort}

def train(cohort, weights, config):
    w = np.array(weights["w"], dtype=np.float64)
    x = np.array([feature(case) for case in cohort]); y = np.array([case.label for case in cohort])
    for _ in range(50):
        p = sigmoid(w[0] * x + w[1])
        w -= 0.5 * np.array([((p - y) * x).mean(), (p - y).mean()])
    radfed_job.report("loss", min(9.0, float(-np.mean(np.log(np.where(y, p, 1 - p) + 1e-9)))))
    return {"w": w.astype(np.float32)}
"""
SCHEMA = {"w": TensorSpec(shape=(2,))}


@dataclass
class Signer:
    key: Ed25519PrivateKey

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes_raw()


def a_bundle(tmp_path, code=JOB_PY, manifest=JOB_TOML):
    folder = tmp_path / "bundle"
    folder.mkdir(exist_ok=True)
    (folder / "job.toml").write_text(manifest)
    (folder / "job.py").write_text(code)
    return bundle.pack(folder)
