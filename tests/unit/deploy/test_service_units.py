"""The systemd units: systemd reads them, and the coordinator's absence keeps no gateway down."""

import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parents[3] / "deploy" / "systemd").glob("*.service"))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_no_fault_in_a_unit(unit, tmp_path):
    here = tmp_path / unit.name  # where radfed is not installed, its program is one that is there
    here.write_text(unit.read_text().replace("/opt/radfed/bin/radfed", "/bin/true"))

    done = subprocess.run(
        ["systemd-analyze", "verify", here], check=False, capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_what_preflight_finds_does_not_keep_a_hospital_from_taking_studies():
    unit = next(unit for unit in UNITS if unit.name == "radfed-gateway.service").read_text()
    before = [line for line in unit.splitlines() if line.startswith("ExecStartPre=")]

    assert before
    assert all(line.startswith("ExecStartPre=-") for line in before)
