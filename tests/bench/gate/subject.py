"""One pass over one update, alone in a process: `python -m tests.bench.gate.subject NAME NEW OLD`.

Prints the CPU seconds of the work itself and the memory it took beyond what was there before.
"""

import json
import os
import resource
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from gateway.desk.objects import Objects
from gateway.policy import Policy
from gateway.release.gate import Gate
from gateway.release.ledger import Ledger
from gateway.release.updates import ReleasedUpdate, UpdateShelf
from protos.job_manifest import JobManifest
from protos.tensors import read_schema

PIECE, VALUES = 1 << 20, 1 << 16  # what a processor's cache holds
MANIFEST = {
    "name": "bench",
    "kind": "training",
    "purpose": "A large update.",
    "cohort": [{"field": "Modality", "values": ["CT"]}],
    "label": "lesion",
    "clip": 1.0,
    "sigma": 0.05,
}


def gate(new: str, old: str, home: Path) -> None:
    """What the hospital does: read, check, clip, noise, write, name."""
    digests = [bytes.fromhex(Path(path).name) for path in (new, old)]
    objects = Objects(Path(new).parent)
    views = [_mapped(objects, digest) for digest in digests]
    manifest = JobManifest.model_validate(MANIFEST | {"weights": read_schema(views[0])})
    shelf, ledger = UpdateShelf(home / "updates"), Ledger.open(home / "ledger.db")
    found = Gate(Policy, ledger, shelf, ()).update("task", views[0], views[1], manifest)
    assert isinstance(found, ReleasedUpdate)


def _mapped(objects: Objects, digest: bytes) -> memoryview:
    """As the sandbox hands its outputs over; their digest is nobody's claim."""
    from mmap import PROT_READ, mmap

    with objects.path(digest).open("rb") as file:
        return memoryview(mmap(file.fileno(), 0, prot=PROT_READ))


def digest_and_noise(new: str, old: str, home: Path) -> None:  # noqa: ARG001 - one signature
    """SHA-256 of the same bytes, and as many Gaussian float32 from a CSPRNG as a textbook says."""
    digest, count = sha256(), 0
    with Path(new).open("rb") as file:
        while block := file.read(PIECE):
            digest.update(block)
            count += len(block)
    stream = Cipher(AES(os.urandom(32)), CTR(bytes(16))).encryptor()
    zeros, left = bytes(8 * VALUES), count // 4
    with (home / "noise").open("wb") as out:
        while left > 0:
            drawn = np.frombuffer(stream.update(zeros), "<u8")
            uniform = ((drawn >> np.uint64(11)) + 0.5) * 2.0**-53
            half = len(uniform) // 2
            radius, angle = np.sqrt(-2 * np.log(uniform[:half])), 2 * np.pi * uniform[half:]
            normal = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
            out.write(normal[:left].astype("<f4").tobytes())
            left -= len(normal)


SUBJECTS = {"radfed": gate, "sha256 + noise": digest_and_noise}


def memory(field: str) -> int:
    """Return VmRSS or VmHWM (proc(5)); not getrusage(2), whose peak survives exec."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))


def spent() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    name, new, old, home = sys.argv[1:]
    Path(home).mkdir()
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # forgets the peak so far
    before, began = memory("VmRSS"), spent()
    SUBJECTS[name](new, old, Path(home))
    print(json.dumps({"cpu": spent() - began, "memory": memory("VmHWM") - before}))
