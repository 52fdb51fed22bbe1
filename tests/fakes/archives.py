"""Real archives to fetch from, in processes of their own: Orthanc and dcmtk's dcmqrscp."""

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

OUR_AE = "RADFED"
CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def a_study(date: str, *modalities: str, instances: int = 2, patient: str = "P1") -> list[Dataset]:
    """Return small instances: one series for each modality."""
    study = generate_uid()
    made = []
    for modality in modalities:
        series = generate_uid()
        for number in range(instances):
            instance = Dataset()
            instance.file_meta = FileMetaDataset()
            instance.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            instance.SOPClassUID, instance.SOPInstanceUID = CLASSES[modality], generate_uid()
            instance.StudyInstanceUID, instance.SeriesInstanceUID = study, series
            instance.StudyDate, instance.StudyTime = date, "101112"
            instance.PatientID, instance.PatientName = patient, "Planted^Patient"
            instance.AccessionNumber = "PLANTED1"
            instance.Modality, instance.InstanceNumber = modality, number + 1
            instance.SamplesPerPixel, instance.PhotometricInterpretation = 1, "MONOCHROME2"
            instance.Rows = instance.Columns = 16
            instance.BitsAllocated, instance.BitsStored, instance.HighBit = 16, 12, 11
            instance.PixelRepresentation = 0
            instance.PixelData = bytes((number, 1)) * 256
            instance["PixelData"].VR = "OW"
            made.append(instance)
    return made


def encoded(instance: Dataset) -> bytes:
    file = BytesIO()
    dcmwrite(file, instance, enforce_file_format=True)
    return file.getvalue()


@dataclass
class Archive:
    """A running archive, and how it is called."""

    ae_title: str
    port: int
    directory: Path
    command: list[str]
    http: int = 0
    processes: list[subprocess.Popen] = field(default_factory=list)

    def start(self) -> None:
        log = (self.directory / "log").open("ab")
        started = subprocess.Popen(self.command, stdout=log, stderr=log, cwd=self.directory)
        self.processes.append(started)
        ends = time.monotonic() + 30
        while not _listens(self.port) or (self.http and not _listens(self.http)):
            assert started.poll() is None, (self.directory / "log").read_text("utf-8")[-2000:]
            assert time.monotonic() < ends, "the archive does not listen"
            time.sleep(0.05)

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self.processes.clear()

    def add(self, instances: Sequence[Dataset]) -> None:
        for instance in instances:
            if self.http:
                url = f"http://127.0.0.1:{self.http}/instances"
                urllib.request.urlopen(urllib.request.Request(url, encoded(instance)), timeout=10)
            else:
                file = self.directory / "in.dcm"
                file.write_bytes(encoded(instance))
                call = ["storescu", "-aec", self.ae_title, "127.0.0.1", str(self.port), str(file)]
                subprocess.run(call, check=True, timeout=30)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@contextmanager
def running(archive: Archive) -> Iterator[Archive]:
    archive.start()
    try:
        yield archive
    finally:
        archive.stop()


def orthanc(directory: Path, our_port: int | None, **settings) -> Archive:
    """Return an Orthanc that knows us only where we have a port."""
    directory.mkdir()
    archive = Archive("ORTHANC", free_port(), directory, [], free_port())
    known = {} if our_port is None else {"us": [OUR_AE, "127.0.0.1", our_port]}
    (directory / "orthanc.json").write_text(
        json.dumps(
            {
                "StorageDirectory": str(directory / "storage"),
                "IndexDirectory": str(directory / "storage"),
                "DicomAet": archive.ae_title,
                "DicomPort": archive.port,
                "HttpPort": archive.http,
                "AuthenticationEnabled": False,
                "RemoteAccessAllowed": False,
                "DicomAlwaysAllowFind": True,
                "DicomAlwaysAllowMove": True,
                "DicomAlwaysAllowGet": True,
                "DicomModalities": known,
                "Plugins": [],
            }
            | settings
        ),
        "utf-8",
    )
    program = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
    archive.command = [program, str(directory / "orthanc.json")]
    return archive


def dcmqrscp(directory: Path, our_port: int, *options: str) -> Archive:
    directory.mkdir()
    (directory / "store").mkdir()
    archive = Archive("ARCHIVE", free_port(), directory, [])
    (directory / "dcmqrscp.cfg").write_text(
        f"""NetworkTCPPort = {archive.port}
MaxPDUSize = 16384
MaxAssociations = 16
HostTable BEGIN
us = ({OUR_AE}, 127.0.0.1, {our_port})
HostTable END
VendorTable BEGIN
VendorTable END
AETable BEGIN
{archive.ae_title} {directory / "store"} RW (200, 1024mb) ANY
AETable END
""",
        "utf-8",
    )
    archive.command = ["dcmqrscp", "-c", str(directory / "dcmqrscp.cfg"), *options]
    return archive
