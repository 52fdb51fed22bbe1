"""What our processes do without: none decodes pixels (jobs do, elsewhere), none hoards memory."""

import ctypes
import gc
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from gateway.errors import ExitCode, GatewayError

# pydicom imports every decoder that is installed, as it is itself imported: 34 MB in each process.
DECODERS = ("numpy", "PIL", "gdcm", "pylibjpeg", "openjpeg", "libjpeg", "rle", "jpeg_ls")
# structlog draws tracebacks with the first where it is there, and asks for the other: 9 MB and 1.
ORNAMENTS = ("rich", "greenlet")
# Where they are there (the extra `ocr` brings two), sqlite-utils imports the first and pydicom the
# others, and nothing here uses them: 30 MB and 4.
UNASKED = ("pandas", "requests", "tqdm")
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # malloc.h
LARGE_BYTES = 128 << 10
ARENAS = 2


def receive(arguments: Sequence[str]) -> None:
    """Be a receiver: what a gateway starts, and nobody types."""
    decode_nothing()
    return_memory()
    parser = ArgumentParser(prog="intake-worker")
    parser.add_argument("--config", type=Path, required=True)
    for number in ("--parent", "--number", "--fd", "--tls-fd"):
        parser.add_argument(number, type=int)
    parser.add_argument("--quiet-seconds", type=float, required=True)
    asked = parser.parse_args(arguments)
    from gateway.app.intake_worker import work
    from gateway.config import load

    try:
        rests_after = asked.quiet_seconds if asked.number else None  # the first always stays
        work(load(asked.config), asked.number, asked.parent, asked.fd, asked.tls_fd, rests_after)
    except GatewayError as fault:
        sys.stderr.write(f"radfed: {fault}\n")
        sys.exit(int(fault.exit_code))
    except OSError as fault:
        sys.stderr.write(f"radfed: {fault.filename or 'a receiver'}: {fault.strerror}\n")
        sys.exit(int(ExitCode.ENVIRONMENT))


def decode_nothing(*but: str) -> None:
    """Make the decoders look absent to this process, before anything in it imports pydicom."""
    for name in {*DECODERS, *ORNAMENTS, *UNASKED} - {*but}:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None: "it is not there" (importlib)


def return_memory() -> None:
    """Have glibc give large buffers back as they are freed, whichever thread held them.

    Left to itself it raises the size it calls large and keeps an arena for each thread: after
    eight long headers at once a receiver stayed at 170 MB; so told, it is back at 70.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # other C libraries have none
        libc.mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
        libc.mallopt(M_ARENA_MAX, ARENAS)


def settle() -> None:
    """Give back what loading left, and spare every collection a look at what was loaded."""
    gc.collect()
    gc.freeze()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
