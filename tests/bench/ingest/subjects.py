"""Whom the bench measures: this gateway, Orthanc, dcmtk's storescp and pynetdicom's."""

import json
import shutil
import sqlite3
import subprocess
import urllib.request
from abc import ABC, abstractmethod
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from tests.bench.ingest.pushing import CALLING_AE
from tests.bench.processes import REPOSITORY, NotMeasured, Tree, free_port, python, wait_listening

LARGEST_DCMTK_PDU = "131072"


class Subject(ABC):
    """A storage SCP that is started in a directory of its own."""

    name: ClassVar[str]
    ae_title: ClassVar[str] = "ANY-SCP"
    receiver: ClassVar[str] = ""  # a word in the command line of the process that receives
    # Those built on dcmtk answer in two small writes, 40 ms apart unless TCP_NODELAY is set.
    heeds_nodelay: ClassVar[bool] = False
    tree: Tree
    port: int

    def start(self, directory: Path, *, nagle: bool = False) -> None:
        """Start without waiting, so that all subjects come up together."""
        directory.mkdir(parents=True)
        self.directory = directory
        self.port = free_port()
        log = directory / f"{self.name.replace(' ', '-')}.log"
        self.tree = Tree(self.command(), log, {} if nagle else {"TCP_NODELAY": "1"})

    def wait(self) -> None:
        wait_listening(self.tree, self.port)

    def stop(self) -> None:
        self.tree.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    @abstractmethod
    def command(self) -> list[str]:
        """Return what is typed to start it."""

    def arrived(self) -> int:
        """Return how many instances this subject holds, wherever its whole path ends."""
        return sum(1 for path in self.incoming.iterdir() if path.is_file())

    @property
    def incoming(self) -> Path:
        return self.directory / "received"


class Storescp(Subject):
    name = "storescp"
    heeds_nodelay = True
    options: ClassVar[tuple[str, ...]] = ()

    def command(self) -> list[str]:
        if shutil.which("storescp") is None:
            raise NotMeasured("Debian's dcmtk is not installed")
        self.incoming.mkdir()
        options = ["+xa", "--max-pdu", LARGEST_DCMTK_PDU, *self.options]
        return ["storescp", *options, "-od", str(self.incoming), str(self.port)]


class ForkingStorescp(Storescp):
    name = "storescp --fork"
    options = ("--fork",)


class PynetdicomStorescp(Subject):
    name = "pynetdicom"

    def command(self) -> list[str]:
        if find_spec("pynetdicom.apps.storescp") is None:
            raise NotMeasured("pynetdicom has no storescp here")
        self.incoming.mkdir()
        options = ["--max-pdu", "0", "-ba", "127.0.0.1", "-od", str(self.incoming)]
        return python("-m", "pynetdicom", "storescp", str(self.port), *options)


class Orthanc(Subject):
    name = "orthanc"
    heeds_nodelay = True
    ae_title = "ORTHANC"

    def command(self) -> list[str]:
        program = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
        if not Path(program).exists():
            raise NotMeasured("Debian's orthanc is not installed")
        self._http = free_port()
        settings = {
            "Name": "bench",
            "StorageDirectory": str(self.directory / "storage"),
            "IndexDirectory": str(self.directory / "storage"),
            "DicomAet": self.ae_title,
            "DicomPort": self.port,
            "HttpPort": self._http,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAlwaysAllowStore": True,
            "MaximumPduLength": int(LARGEST_DCMTK_PDU),
            "Plugins": [],
        }
        file = self.directory / "orthanc.json"
        file.write_text(json.dumps(settings), "utf-8")
        return [program, str(file)]

    def arrived(self) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._http}/statistics", timeout=5) as page:
            return int(json.load(page)["CountInstances"])


class Radfed(Subject):
    """The whole path: received, de-identified, durable, in the index."""

    name = "radfed"
    ae_title = "RADFED"
    receiver = "intake-worker"

    def command(self) -> list[str]:
        settings = self.directory / "gateway.toml"
        self._data = self.directory / "data"
        made = subprocess.run(
            [
                *python("-m", "gateway", "init", "--config", str(settings), "--site", "bench"),
                *("--data", str(self._data), "--ae-title", self.ae_title, "--host", "127.0.0.1"),
                *("--port", str(self.port), "--peer", f"bench={CALLING_AE}"),
                *("--console-port", str(free_port()), "--reserve-bytes", str(1 << 20)),
                *("--recovery-code-file", str(self.directory / "recovery-code")),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=REPOSITORY,
        )
        if made.returncode:
            raise NotMeasured(f"init: {(made.stderr or made.stdout).strip()[-200:]}")
        return python("-m", "gateway", "run", "--config", str(settings))

    def arrived(self) -> int:
        return self._indexed() + self.set_aside()

    def set_aside(self) -> int:
        """Return how many instances wait in the vault or in quarantine."""
        vault = self._data / "vault"
        return sum(1 for path in vault.rglob("*") if path.is_file()) if vault.exists() else 0

    def _indexed(self) -> int:
        with suppress(sqlite3.OperationalError):  # not made yet, or being made
            index = f"file:{self._data / 'index.db'}?mode=ro"
            with closing(sqlite3.connect(index, uri=True)) as connection:
                return int(connection.execute("SELECT count(*) FROM instance").fetchone()[0])
        return 0


ALL: tuple[type[Subject], ...] = (
    Radfed,
    Orthanc,
    Storescp,
    ForkingStorescp,
    PynetdicomStorescp,
)
