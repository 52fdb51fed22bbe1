"""What is measured: our engines, and the tools a hospital would use instead."""

import json
import resource
import shutil
import subprocess
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.processes import (
    REPOSITORY,
    NotMeasured,
    Tree,
    free_port,
    python,
    wait_listening,
)

SHORTEST = 2  # files, to tell starting from working


@dataclass(frozen=True, slots=True)
class Cost:
    cpu_ms: float  # of one file
    files_per_second: float | None = None
    share: float | None = None  # of files the stream engine did by itself


class Engine:
    """One of ours, in a process of its own; starting is not counted."""

    def __init__(self, name: str, engine: str) -> None:
        self.name = name
        self._engine = engine

    def measure(self, files: Sequence[Path], directory: Path) -> Cost:
        worker = python("-m", "tests.bench.deid.worker", self._engine, str(directory))
        done = subprocess.run(
            [*worker, *map(str, files)],
            cwd=REPOSITORY,
            check=True,
            capture_output=True,
            timeout=600,
        )
        said = json.loads(done.stdout)
        ours = said.get("stream", 0) + said.get("reference", 0)
        return Cost(
            said["cpu_ms"] / len(files),
            len(files) / said["seconds"],
            said.get("stream", 0) / ours if ours else None,
        )


class Command(ABC):
    """A tool that takes files; what it costs to start is measured with few and taken off."""

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def command(self, program: str, files: Sequence[Path], directory: Path) -> list[str]:
        """Return what is typed to treat these files."""

    def measure(self, files: Sequence[Path], directory: Path) -> Cost:
        program = shutil.which(self.name)
        if program is None:
            raise NotMeasured(f"{self.name} is not on the path")
        few = self._cpu_ms(program, files[:SHORTEST], directory)
        began = time.monotonic()
        cost = self._cpu_ms(program, files, directory) - few
        rate = len(files) / (time.monotonic() - began)
        return Cost(cost / (len(files) - SHORTEST), rate)

    def _cpu_ms(self, program: str, files: Sequence[Path], directory: Path) -> float:
        into = directory / f"of-{len(files)}"
        into.mkdir()
        copies = [Path(shutil.copy(file, into / f"{n}.dcm")) for n, file in enumerate(files)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            self.command(program, copies, directory), capture_output=True, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        shutil.rmtree(into)
        used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        return used * 1e3


class Dcmodify(Command):
    """Writes new UIDs and empties names in place: far less than de-identification."""

    def command(self, program: str, files: Sequence[Path], _directory: Path) -> list[str]:
        return [
            program, "-nb", "-gst", "-gse", "-gin", "-ep", "-imt",
            "-ma", "(0010,0010)=PSEUDONYM", "-ma", "(0010,0020)=PSEUDONYM",
            "-ma", "(0010,0030)=", "-ea", "(0008,0080)", "-ma", "(0008,0090)=",
            *map(str, files),
        ]  # fmt: skip


class Dicognito(Command):
    def command(self, program: str, files: Sequence[Path], directory: Path) -> list[str]:
        interpreter = Path(program).parent / "python"  # its script of 0.20 does not start by itself
        return [str(interpreter), "-m", "dicognito", "-q", "-o", str(directory), *map(str, files)]


class Orthanc:
    """Its REST call `anonymize`, per instance it holds."""

    name = "orthanc"

    def measure(self, files: Sequence[Path], directory: Path) -> Cost:
        program = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
        if not Path(program).exists():
            raise NotMeasured("Debian's orthanc is not installed")
        port = free_port()
        settings = {
            "StorageDirectory": str(directory / "storage"),
            "IndexDirectory": str(directory / "storage"),
            "DicomServerEnabled": False,
            "HttpPort": port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "Plugins": [],
        }
        file = directory / "orthanc.json"
        file.write_text(json.dumps(settings), "utf-8")
        tree = Tree([program, str(file)], directory / "orthanc.log")
        try:
            wait_listening(tree, port)
            base = f"http://127.0.0.1:{port}/instances"
            held = [json.loads(_post(base, path.read_bytes()))["ID"] for path in files]
            _post(f"{base}/{held[0]}/anonymize", b"{}")
            before, began = tree.cpu_ms(), time.monotonic()
            for one in held:
                _post(f"{base}/{one}/anonymize", b"{}")
            seconds = time.monotonic() - began
            return Cost((tree.cpu_ms() - before) / len(held), len(held) / seconds)
        finally:
            tree.stop()


def _post(address: str, body: bytes) -> bytes:
    request = urllib.request.Request(address, body, method="POST")
    with urllib.request.urlopen(request, timeout=60) as page:
        raw: bytes = page.read()
    return raw


ALL = (
    Engine("stream", "stream"),
    Engine("stream, no scrub or scan", "unchecked"),
    Engine("reference", "reference"),
    Dcmodify("dcmodify"),
    Orthanc(),
    Dicognito("dicognito"),
)
