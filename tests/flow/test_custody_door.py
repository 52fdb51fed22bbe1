"""A PACS pushes through the real door into the real store."""

import subprocess
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from tests.fakes.custody_house import House, dataset_of, shipped
from tests.fakes.receiver import a_receiver

pytestmark = pytest.mark.flow
EXPRESS = ["CT_small.dcm", "MR_small.dcm", "J2K_pixelrep_mismatch.dcm", "reportsi.dcm"]
VAULT = ["examples_rgb_color.dcm", "JPEG2000.dcm"]


def test_dcmsend_is_answered_success_for_what_is_then_on_the_disk(tmp_path):
    house = House(tmp_path)
    files = [Path(get_testdata_file(name)) for name in EXPRESS + VAULT]
    with a_receiver(house.custody) as receiver:
        port = receiver.port
        command = ["dcmsend", "-v", "-aec", "RADFED", "127.0.0.1", str(port), *map(str, files)]
        sent = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert sent.returncode == 0, sent.stderr
    index = house.index()
    line = house.line(index)
    while line.run_once():
        pass
    assert index.counts()["instances"] == len(EXPRESS)
    assert house.vault.counts() == {"incoming": 0, "quarantined": len(VAULT)}
    pixels = {dataset_of(shipped(name)).get("PixelData") for name in EXPRESS}
    assert {dcmread(path).get("PixelData") for path in house.files()} == pixels
    everything = house.everything_written()
    for name in EXPRESS + VAULT:
        assert shipped(name).arrival.sop_instance_uid.encode() not in everything
