"""What a receiver does without: it passes pixels on and decodes none, and holds no spare memory."""

import ctypes
import gc
import sys

# pydicom imports every decoder that is installed, as it is itself imported: 34 MB in each receiver.
DECODERS = ("numpy", "PIL", "gdcm", "pylibjpeg", "openjpeg", "libjpeg", "rle", "jpeg_ls")
M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # malloc.h
LARGE_BYTES = 128 << 10
ARENAS = 2


def decode_nothing() -> None:
    """Make the decoders look absent to this process, before anything in it imports pydicom."""
    for name in DECODERS:
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


def keep_what_is_built() -> None:
    """Take the tables that live as long as the process out of the garbage collector's rounds."""
    gc.collect()
    gc.freeze()
