"""`python -m tests.bench.ingest.receive_only PORT DIRECTORY`: the DICOM door before a plain disk.

The receiver as the product runs it, with a custody that writes the dataset as it comes and does no
more: no de-identification, no sync, no index.
"""

import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from gateway.app.process import stop_on_signals
from gateway.config import Intake, Peer
from gateway.intake.receiver import Receiver
from gateway.intake.sockets import listen_on
from gateway.model import Arrival
from tests.bench.ingest.pushing import CALLING_AE


@dataclass(frozen=True, slots=True)
class Kept:
    kind: str = "stored"
    reason: str = ""


class PlainFile:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def write(self, *chunks: bytes | memoryview) -> None:
        os.writev(self._descriptor, chunks)

    def commit(self) -> Kept:
        os.close(self._descriptor)
        return Kept()

    def abort(self) -> None:
        self._path.unlink(missing_ok=True)


class PlainDisk:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def begin(self, arrival: Arrival) -> PlainFile:
        return PlainFile(self._directory / arrival.sop_instance_uid)


def main(port: int, directory: Path) -> None:
    stop = threading.Event()
    stop_on_signals(stop)
    settings = Intake(
        ae_title="RADFED",
        port=port,
        processes=1,
        peers=(Peer(name="bench", ae_title=CALLING_AE),),
        stop_grace_seconds=0,
    )
    receiver = Receiver(settings, PlainDisk(directory), lambda *_, **__: None)
    receiver.serve([(listen_on("127.0.0.1", port), None)], stop)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
