"""A gateway in its own processes that grants commitment, and Orthanc that asks for it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from urllib.error import URLError

from tests.fakes.archives import free_port
from tests.fakes.receiver import eventually
from tests.fakes.running_gateway import ROOT, Gateway

ORTHANC = "/usr/sbin/Orthanc"
PEER = """
[[intake.peers]]
name = "{name}"
ae_title = "{ae_title}"
host = "127.0.0.1"
port = {port}
commitment = true
"""


class GrantingGateway(Gateway):
    def grant(self, name, ae_title, port, more=""):
        """Opt a peer in; before the gateway runs."""
        with self.settings.open("a") as settings:
            settings.write(PEER.format(name=name, ae_title=ae_title, port=port) + more)

    def set(self, key, value):
        text = self.settings.read_text()
        (line,) = [line for line in text.splitlines() if line.startswith(f"{key} = ")]
        self.settings.write_text(text.replace(line, f"{key} = {value}"))

    @property
    def port(self):
        return self.json("status")["port"]

    @property
    def commitments(self):
        return self.json("status")["commitments"]

    @contextmanager
    def until_killed(self):
        """Run until the block ends, then kill -9 the whole of it."""
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "run"],
            cwd=self.home,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stderr=subprocess.DEVNULL,
        )
        try:
            self.wait(lambda: self.json("status")["port"])
            yield self
        finally:
            process.send_signal(signal.SIGKILL)  # its receivers die with it
            process.wait(30)
            time.sleep(0.2)


class Orthanc:
    """Orthanc as a PACS that asks for commitment of what it pushed (PS3.4 annex J, SCU)."""

    def __init__(self, directory):
        self.directory = directory
        self.dicom, self.http = free_port(), free_port()
        directory.mkdir(exist_ok=True)

    @contextmanager
    def running(self, gateway_port):
        settings = self.directory / "orthanc.json"
        settings.write_text(
            json.dumps(
                {
                    "Name": "pacs",
                    "StorageDirectory": str(self.directory / "storage"),
                    "IndexDirectory": str(self.directory / "storage"),
                    "HttpPort": self.http,
                    "DicomPort": self.dicom,
                    "DicomAet": "ORTHANC",
                    "AuthenticationEnabled": False,
                    "DicomModalities": {"radfed": ["RADFED", "127.0.0.1", gateway_port]},
                }
            )
        )
        log = (self.directory / "log").open("ab")
        with subprocess.Popen(
            [ORTHANC, "--verbose", str(settings)], stdout=log, stderr=log
        ) as process:
            try:
                eventually(self._answers, 20)
                yield self
            finally:
                process.terminate()

    def ask(self, path, body=None):
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def _answers(self):
        try:
            return bool(self.ask("/system"))
        except (URLError, ConnectionError):
            return False

    def report(self, transaction):
        return self.ask(f"/storage-commitment/{transaction}")
