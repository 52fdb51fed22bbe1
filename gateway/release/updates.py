"""Released updates on disk: made once, sent as often as needed, the same bytes each time."""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from mmap import PROT_READ, mmap
from pathlib import Path

from gateway.durable import Directory, Draft, replace_durably, sync_directory
from gateway.errors import IntegrityFault


@dataclass(frozen=True, slots=True)
class ReleasedUpdate:
    """What the gate let out for one task: its bytes are named by their SHA-256."""

    task_id: str
    digest: str  # hex
    size: int
    leakage_bits: float  # negative: no leakage bound
    rho: float  # negative: infinite, without noise
    noise_norm: float


class UpdateShelf:
    """A directory of payloads by digest, and one record for each task.

    The payload is durable before its record, and the record before anyone is told: after a power
    cut there is either a whole release or none, so the noise of a release is never drawn twice.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def find(self, task_id: str) -> ReleasedUpdate | None:
        try:
            return ReleasedUpdate(**json.loads(self._record(task_id).read_text("utf-8")))
        except FileNotFoundError:
            return None

    def draft(self) -> Draft:
        """Begin a file for an update: without a name, so that only `put` leaves anything."""
        return Directory(self._directory).draft()

    def put(self, update: ReleasedUpdate, draft: Draft) -> ReleasedUpdate:
        """Keep a drafted update for good; where the task has one already, that one stands."""
        if (earlier := self.find(update.task_id)) is not None:
            return earlier
        draft.sync()
        draft.supersede(self._payload(update.digest).name)
        sync_directory(self._directory)
        replace_durably(self._record(update.task_id), json.dumps(asdict(update)).encode())
        return update

    def chunk(self, update: ReleasedUpdate, offset: int, size: int) -> bytes:
        with self._payload(update.digest).open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def mapped(self, update: ReleasedUpdate) -> memoryview:
        """Return a payload on the disk: it comes in as it is used."""
        with self._payload(update.digest).open("rb") as file:
            return memoryview(mmap(file.fileno(), 0, prot=PROT_READ))

    def verify(self, update: ReleasedUpdate) -> None:
        """Raise IntegrityFault when the payload is no longer what was released."""
        try:
            with self._payload(update.digest).open("rb") as file:
                found = sha256()
                while block := file.read(1 << 20):
                    found.update(block)
        except FileNotFoundError as fault:
            raise IntegrityFault(f"the released update of {update.task_id} is missing") from fault
        if found.hexdigest() != update.digest:
            raise IntegrityFault(f"the released update of {update.task_id} was altered")

    def _payload(self, digest: str) -> Path:
        return self._directory / f"{digest}.safetensors"

    def _record(self, task_id: str) -> Path:
        return self._directory / f"{sha256(task_id.encode()).hexdigest()}.json"
