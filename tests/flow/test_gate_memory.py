"""A large update passes the gate without being held in memory."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.bench.gate.bench import _tensors

pytestmark = pytest.mark.flow


def test_an_update_is_never_whole_in_memory(tmp_path):
    new, old = (_tensors(tmp_path, 8_000_000, seed) for seed in (1, 2))
    words = [sys.executable, "-m", "tests.bench.gate.subject", "radfed", new, old, tmp_path / "h"]

    done = subprocess.run(words, check=True, capture_output=True)

    assert json.loads(done.stdout)["memory"] < 0.75 * new.stat().st_size
    (payload,) = (tmp_path / "h" / "updates").glob("*.safetensors")
    assert payload.stat().st_size == new.stat().st_size
    kept = np.frombuffer(payload.read_bytes()[-4_000_000:], "<f4")
    assert 0.045 < kept.std() < 0.055  # the noise, on all of it
