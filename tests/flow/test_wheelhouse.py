"""A machine without a network installs from the wheelhouse alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.flow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]


def test_radfed_installs_from_its_wheelhouse_with_the_index_switched_off(tmp_path):
    wheels, venv = tmp_path / "wheels", tmp_path / "venv"
    # -o: the environment these tests run in is as ready as it needs to be.
    made = [
        "make",
        "-o",
        f"{sys.prefix}/.ready-dev",
        "wheelhouse",
        f"VENV={sys.prefix}",
        f"WHEELS={wheels}",
    ]
    subprocess.run(made, cwd=ROOT, check=True, timeout=600)
    deaf = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    deaf |= {"PIP_CONFIG_FILE": os.devnull}

    subprocess.run([sys.executable, "-m", "venv", venv], check=True, timeout=120)
    install = ["-m", "pip", "install", "--quiet", "--no-index", "--find-links", wheels, "radfed"]
    subprocess.run(
        [venv / "bin" / "python", *install], check=True, env=deaf, cwd=tmp_path, timeout=600
    )

    listed = subprocess.run(
        [venv / "bin" / "radfed", "--help"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert "gateway" in listed.stdout
    assert "demo" in listed.stdout
