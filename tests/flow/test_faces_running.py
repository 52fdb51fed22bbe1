"""A gateway that removes faces, killed while it does: nothing is lost, nothing shows uncleaned."""

import os
import random
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
from pydicom import dcmread

from tests.fakes.head_scans import series_of
from tests.fakes.heads import Head, axial
from tests.fakes.running_gateway import ROOT, Gateway

pytestmark = [
    pytest.mark.flow,
    pytest.mark.skipif(shutil.which("storescu") is None, reason="storescu is missing: dcmtk"),
]
PROFILE = """
name = "faceless"
[options]
clean_recognizable_visual_features = true
"""
STACK = axial(count=60, thick=4.5)


@pytest.fixture
def gateway(tmp_path):
    gateway = Gateway(tmp_path)
    (tmp_path / "faceless.toml").write_text(PROFILE)
    text = gateway.settings.read_text()
    assert 'profile = "research-strict"' in text
    text = text.replace('profile = "research-strict"', 'profile = "faceless.toml"')
    gateway.settings.write_text(text + "\n[deid.faces]\nquiet_seconds = 4\n")
    return gateway


@contextmanager
def killed_at_the_end(gateway):
    """Run it, and take its power away when the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "run"],
        cwd=gateway.home,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def files(gateway):
    return sorted((gateway.state / "store").rglob("*.dcm"))


def assert_clean(found, sent):
    for path in found:
        kept = dcmread(path)
        before = np.frombuffer(sent[int(kept.InstanceNumber)].PixelData, np.uint16)
        gone = np.frombuffer(kept.PixelData, np.uint16) != before
        y, z = (np.broadcast_arrays(*STACK.points(kept.InstanceNumber - 1))[i] for i in (1, 2))
        nose = Head().tissue(*np.broadcast_arrays(*STACK.points(kept.InstanceNumber - 1)))
        nose &= (y < -110) & (z < -16)
        assert kept.RecognizableVisualFeatures == "NO"
        codes = [item.CodeValue for item in kept.DeidentificationMethodCodeSequence]
        assert codes == ["113100", "113102"]
        assert gone[nose.ravel()].all()


def test_a_gateway_killed_in_between_loses_no_slice_and_shows_no_face(gateway):
    sent = {int(d.InstanceNumber): d for d in series_of(Head(), STACK)}
    folder = gateway.home / "sent"
    folder.mkdir()
    for number, dataset in sent.items():
        dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    paths = sorted(str(path) for path in folder.iterdir())
    random.Random(5).shuffle(paths)
    with killed_at_the_end(gateway):
        gateway.wait(lambda: gateway.json("status")["port"])
        port = str(gateway.json("status")["port"])
        command = ["storescu", "-aet", "PACS", "-aec", "RADFED", "127.0.0.1", port, *paths]
        subprocess.run(command, check=True, timeout=60)
        assert files(gateway) == []
    assert files(gateway) == []

    with killed_at_the_end(gateway):
        gateway.wait(lambda: len(files(gateway)) > 5)
    assert_clean(files(gateway), sent)

    with gateway.running():
        gateway.wait(lambda: gateway.json("status")["vault"]["incoming"] == 0)
        gateway.wait(lambda: gateway.json("status")["arrivals"] == 0)

    left = gateway.json("status")["vault"]["quarantined"]  # what was being read at that moment
    assert left <= 2
    assert len(files(gateway)) == len(sent) - left
    assert_clean(files(gateway), sent)


def test_a_dry_run_of_single_files_says_that_a_head_waits_for_its_series(gateway):
    folder = gateway.home / "heads"
    folder.mkdir()
    for dataset in series_of(Head(), axial(count=2)):
        dataset.save_as(folder / f"{dataset.InstanceNumber}.dcm", enforce_file_format=True)

    told = gateway.json("deid", "try", folder, "--report", gateway.home / "out.html")

    assert (told["kept"], told["quarantined"]) == (2, 0)
    assert all("once it is whole" in one["reason"] for one in told["tried"])


def test_the_conformance_statement_names_the_option(gateway):
    said = gateway.json("conformance")

    (options,) = (section for section in said if section["title"] == "Options")
    (row,) = (row for row in options["rows"] if row["Code (DCM)"] == "113102")
    assert (row["faceless"], row["research-strict"]) == ("yes", "")
