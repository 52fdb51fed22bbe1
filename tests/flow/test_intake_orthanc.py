"""Orthanc, as a hospital's PACS, pushes what it holds through the door."""

import json
import shutil
import socket
import subprocess
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from tests.fakes.custody import FakeCustody
from tests.fakes.receiver import a_receiver, eventually

ORTHANC = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
pytestmark = [
    pytest.mark.flow,
    pytest.mark.skipif(not Path(ORTHANC).exists(), reason="Orthanc is not installed"),
]
IMAGES = ["CT_small.dcm", "MR_small_jp2klossless.dcm", "SC_rgb_rle.dcm"]


class Rest:
    def __init__(self, port):
        self._base = f"http://127.0.0.1:{port}"

    def ask(self, path, body=None):
        request = urllib.request.Request(self._base + path, body)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def answers(self):
        try:
            return bool(self.ask("/system"))
        except (URLError, ConnectionError):
            return False


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def an_orthanc(directory, receiver_port):
    port, settings = free_port(), directory / "orthanc.json"
    settings.write_text(
        json.dumps(
            {
                "Name": "pacs",
                "StorageDirectory": str(directory / "storage"),
                "IndexDirectory": str(directory / "storage"),
                "HttpPort": port,
                "DicomServerEnabled": False,
                "DicomAet": "ORTHANC",
                "AuthenticationEnabled": False,
                "DicomModalities": {"radfed": ["RADFED", "127.0.0.1", receiver_port]},
            }
        )
    )
    with subprocess.Popen(
        [ORTHANC, str(settings)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            rest = Rest(port)
            eventually(rest.answers, 20)
            yield rest
        finally:
            process.terminate()


def test_orthanc_pushes_what_it_holds_as_it_holds_it(tmp_path):
    custody = FakeCustody()

    with a_receiver(custody) as door, an_orthanc(tmp_path, door.port) as orthanc:
        echo = orthanc.ask("/modalities/radfed/echo", b"{}")
        ids = [
            orthanc.ask("/instances", Path(get_testdata_file(name)).read_bytes())["ID"]
            for name in IMAGES
        ]
        report = orthanc.ask("/modalities/radfed/store", json.dumps({"Resources": ids}).encode())

    assert echo == {}
    assert (report["InstancesCount"], report["FailedInstancesCount"]) == (3, 0)
    assert {held.arrival.calling_ae for held in custody.held} == {"ORTHANC"}
    by_class = {held.arrival.sop_class_uid: held for held in custody.held}
    for name in IMAGES:
        sent = dcmread(get_testdata_file(name))
        held = by_class[sent.SOPClassUID]
        assert held.arrival.transfer_syntax_uid == sent.file_meta.TransferSyntaxUID
        assert sent.PixelData in held.dataset
