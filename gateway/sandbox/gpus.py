"""The graphics processors of this machine: which there are, and which job has one now."""

import contextlib
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from gateway.sandbox.rules import Device, Given

CARD = re.compile(r"nvidia\d+")
# Without these no card answers; the third is for profilers, and not every driver makes it.
CONTROL, PROFILERS = ("nvidiactl", "nvidia-uvm"), ("nvidia-uvm-tools",)
# What a program that computes loads of the driver; nothing that draws, encodes or debugs.
LIBRARIES = re.compile(
    r"lib(?:cuda|nvidia-ml|nvidia-ptxjitcompiler|nvidia-nvvm|nvidia-gpucomp)\.so(?:\.[0-9.]+)?"
)
PLACES = ("usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/lib")


@dataclass(frozen=True, slots=True)
class Cards:
    """NVIDIA's device nodes and its driver's libraries, as far as a job may be given them."""

    cards: tuple[Device, ...] = ()
    control: tuple[Device, ...] = ()
    libraries: tuple[Path, ...] = ()


def find(root: Path = Path("/")) -> Cards:
    """Look for cards; none where a device node or the driver's `libcuda` is missing."""
    devices = root / "dev"
    cards = [path for path in sorted(devices.glob("nvidia*")) if CARD.fullmatch(path.name)]
    usable = tuple(_device(path) for path in cards if _is_device(path))
    control = [devices / name for name in (*CONTROL, *PROFILERS) if _is_device(devices / name)]
    if not usable or not {devices / name for name in CONTROL} <= set(control):
        return Cards()
    libraries = _libraries(root)
    if not any(path.name.startswith("libcuda.so") for path in libraries):
        return Cards()
    return Cards(usable, tuple(map(_device, control)), libraries)


@dataclass(frozen=True, slots=True)
class Turns:
    """Cards by turns: one job has a card alone, whichever process of this gateway runs it."""

    cards: Cards
    locks: Path

    def take(self, wanted: int, until: contextlib.ExitStack) -> Given | None:
        """Hold so many cards until a stack ends; None, and none held, where fewer are free now.

        A lock ends with the process that holds it, so a card is never lost to a crash.
        """
        with contextlib.ExitStack() as held:
            found = tuple(islice(self._free(held), wanted))
            if len(found) < wanted:
                return None
            until.enter_context(held.pop_all())
            return Given((*found, *self.cards.control), self.cards.libraries)

    def _free(self, held: contextlib.ExitStack) -> Iterator[Device]:
        self.locks.mkdir(parents=True, exist_ok=True, mode=0o700)
        for card in self.cards.cards:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            lock = os.open(self.locks / f"{card.here.name}.lock", flags, 0o600)
            held.callback(os.close, lock)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield card


def _device(path: Path) -> Device:
    return Device(path, f"/dev/{path.name}")


def _is_device(path: Path) -> bool:
    """Say whether it is a character device: never a link to something else."""
    try:
        return stat.S_ISCHR(path.lstat().st_mode)
    except OSError:
        return False


def _libraries(root: Path) -> tuple[Path, ...]:
    """Return each of the driver's libraries by each of its names, the first of a name."""
    found: dict[str, Path] = {}
    for folder in dict.fromkeys([*(root / place for place in PLACES), *_known_to_linker(root)]):
        for path in sorted(folder.glob("lib*.so*")):
            if LIBRARIES.fullmatch(path.name) and path.is_file():
                found.setdefault(path.name, path)
    return tuple(found.values())


def _known_to_linker(root: Path) -> Iterator[Path]:
    """Yield the other directories this machine's linker looks in for libraries (ldconfig(8))."""
    for file in sorted((root / "etc" / "ld.so.conf.d").glob("*.conf")):
        for line in file.read_text("utf-8", "replace").splitlines():
            if line.startswith("/"):
                yield root / line.strip().lstrip("/")
