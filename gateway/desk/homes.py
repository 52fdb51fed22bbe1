"""Where a job lives at the desk: its code, unpacked anew, its weights and its frozen cohort."""

import shutil
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from gateway.desk.objects import Objects
from protos import bundle
from protos.tensors import Buffer
from protos.v1 import job_pb2


class Homes:
    def __init__(self, directory: Path, objects: Objects) -> None:
        self._directory = directory
        self._objects = objects

    def of(self, job_id: str) -> Path:
        return home_of(self._directory, job_id)

    def weights(self, task: job_pb2.RoundTask, raw: bytes) -> tuple[Path | None, Buffer]:
        """Return the round's weights, file and content; the bundle's own where none came."""
        if digest := task.weights_digest:
            return self._objects.path(digest), self._objects.mapped(digest)
        own = bundle.initial_weights(raw)
        if own is None:
            return None, b""
        path = self.of(task.job_id) / "initial.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_bytes(own)
        return path, own

    def unpacked(self, job_id: str, raw: bytes) -> Path:
        """Return the bundle's directory, unpacked anew: nobody can have changed it meanwhile."""
        code = self.of(job_id) / "code"
        shutil.rmtree(code, ignore_errors=True)
        code.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        bundle.unpack(raw, code)
        return code

    def forget_weights(self, ended: job_pb2.RoundTask, still: Iterable[job_pb2.RoundTask]) -> None:
        """Drop a round's weights: a model of each round for ever would fill the disk."""
        digest = ended.weights_digest
        if digest and digest not in {task.weights_digest for task in still}:
            self._objects.drop(digest)

    def remove(self, job_id: str) -> bool:
        """Remove the images of a job that is over; say whether there were any."""
        home = self.of(job_id)
        if not home.exists():
            return False
        shutil.rmtree(home, ignore_errors=True)
        return True


def home_of(directory: Path, job_id: str) -> Path:
    return directory / sha256(job_id.encode()).hexdigest()[:32]
