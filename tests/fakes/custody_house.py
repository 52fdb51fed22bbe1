"""One gateway's custody on real directories, and real instances to give it."""

import io
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from gateway.deid.engine import Deidentifier
from gateway.deid.profile import load_profile
from gateway.deid.stream import StreamEngine
from gateway.line.custody import Custody
from gateway.line.worker import Line
from gateway.model import Arrival, RealUID
from gateway.store.files import Store
from gateway.store.index import Index
from gateway.vault.vault import Vault

SEAL_KEY, VAULT_KEY = b"k" * 32, b"v" * 32


@dataclass(frozen=True)
class Instance:
    """A dataset as it travels, with what its command says."""

    arrival: Arrival
    raw: bytes


@dataclass
class Trail:
    events: list[tuple[str, dict]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def record(self, event, **facts):
        with self.lock:
            self.events.append((event, facts))


def engine(profile: str = "research-strict") -> Deidentifier:
    return Deidentifier(load_profile(profile), b"p" * 32, b"s" * 32)


def stream_engine(profile: str = "research-strict") -> StreamEngine:
    return StreamEngine(load_profile(profile), b"p" * 32, b"s" * 32)


class House:
    def __init__(
        self,
        base: Path,
        *,
        header_limit_bytes=8 << 20,
        header_memory_bytes=64 << 20,
        reserve_bytes=0,
        profile="research-strict",
    ) -> None:
        self.base = base
        self.trail = Trail()
        self.counted: list[str] = []
        self.engine = engine(profile)
        self.store = Store(base / "store", SEAL_KEY)
        self.vault = Vault(base / "vault", VAULT_KEY)
        self.custody = Custody(
            self.store,
            self.vault,
            self.engine,
            header_limit_bytes=header_limit_bytes,
            header_memory_bytes=header_memory_bytes,
            reserve_bytes=reserve_bytes,
            audit=self.trail,
            stream=stream_engine(profile),
            count=self.counted.append,
        )

    def take(self, instance: Instance, chunk: int = 1 << 20):
        incoming = self.custody.begin(instance.arrival)
        view = memoryview(instance.raw)
        for at in range(0, len(view), chunk):
            incoming.write(view[at : at + chunk])
        return incoming.commit()

    def received(self, raw: bytes) -> str:
        """What is remembered of bytes that arrived."""
        whole = self.store.seal.received_print()
        whole.update(raw)
        return whole.digest().hex()

    def index(self) -> Index:
        return Index.open(self.base / "index.db")

    def line(self, index: Index, **options) -> Line:
        options = {"quiet_seconds": 0.0, "audit": self.trail} | options
        return Line(self.store, self.vault, self.engine, index, **options)

    def files(self) -> list[Path]:
        return list(self.store.files())

    def everything_written(self) -> bytes:
        return b"".join(p.read_bytes() for p in sorted(self.base.rglob("*")) if p.is_file())


def shipped(name: str) -> Instance:
    """One of the files in the pydicom wheel."""
    raw = Path(get_testdata_file(name)).read_bytes()
    end = 144 + int.from_bytes(raw[140:144], "little")
    meta = dcmread(io.BytesIO(raw), stop_before_pixels=True).file_meta
    arrival = Arrival(
        str(meta.MediaStorageSOPClassUID),
        RealUID(str(meta.MediaStorageSOPInstanceUID)),
        str(meta.TransferSyntaxUID),
        "PACS",
        "RADFED",
    )
    return Instance(arrival, raw[end:])


def dataset_of(instance: Instance) -> Dataset:
    """The instance's dataset, to be changed and written again with `written`."""
    from gateway.line.encoding import parse, syntax_of

    return parse(instance.raw, syntax_of(instance.arrival.transfer_syntax_uid).encoding)


def written(dataset: Dataset, instance: Instance, **arrival) -> Instance:
    """The same kind of instance with another dataset."""
    uid = instance.arrival.transfer_syntax_uid
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = uid == "1.2.840.10008.1.2"
    buffer.is_little_endian = uid != "1.2.840.10008.1.2.2"
    write_dataset(buffer, dataset)
    named = {"sop_instance_uid": RealUID(str(dataset.SOPInstanceUID))} | arrival
    return Instance(replace(instance.arrival, **named), bytes(buffer.getvalue()))


def corrected(instance: Instance, **elements) -> Instance:
    """The same instance after the PACS corrected its header."""
    dataset = dataset_of(instance)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return written(dataset, instance)
