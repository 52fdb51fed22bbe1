"""The seccomp filter of a job, assembled here: classic BPF over seccomp_data (seccomp(2))."""

import errno
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from gateway.sandbox.syscalls import ALLOWED, BY_ARGUMENT, numbers

# linux/bpf_common.h
LOAD_WORD, JUMP_EQUAL, JUMP_GREATER, JUMP_SET, RETURN, AND = 0x20, 0x15, 0x25, 0x45, 0x06, 0x54
# linux/seccomp.h
ALLOW, KILL_PROCESS, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16
X32_BIT = 0x40000000  # the x32 ABI: the same architecture word, other numbers
NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS | CGROUP | UTS | IPC | USER | PID | NET
AF_UNIX, AF_INET = 1, 2
# TCGETS, TIOCGPGRP, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: never TIOCSTI or TIOCLINUX
IOCTLS = (0x5401, 0x540F, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
# What the driver of a graphics processor is asked with: type `F` of its own devices (_IOC), and
# unified memory's plain numbers with its two of another kind.
GPU_TYPE_MASK, GPU_TYPE, UNIFIED_AT_MOST = 0xFF00, 0x4600, 0xFF
UNIFIED = (0x30000001, 0x30000002)
PERSONALITIES = (0, 0xFFFFFFFF)  # the usual one, and the question which it is


@dataclass(frozen=True, slots=True)
class Architecture:
    audit_word: int  # linux/audit.h
    column: int
    has_x32: bool


ARCHITECTURES = {
    "x86_64": Architecture(0xC000003E, 0, has_x32=True),
    "aarch64": Architecture(0xC00000B7, 1, has_x32=False),
}
Instruction = tuple[int, int, int, int]


def program(machine: str, *, gpus: bool = False) -> bytes | None:
    """Return the filter for this machine (`uname -m`), or None where we have no table for it.

    Only a job that is given a graphics processor may ask a driver for anything.
    """
    architecture = ARCHITECTURES.get(machine)
    if architecture is None:
        return None
    body = [
        *_guards(architecture),
        *_by_argument(architecture, gpus=gpus),
        *_by_number(architecture),
    ]
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in body)


def _guards(architecture: Architecture) -> list[Instruction]:
    """Another ABI numbers its calls otherwise, so a process that switches is killed."""
    guards = [
        (LOAD_WORD, 0, 0, ARCHITECTURE),
        (JUMP_EQUAL, 1, 0, architecture.audit_word),
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD_WORD, 0, 0, NUMBER),
    ]
    if architecture.has_x32:
        guards += [(JUMP_SET, 0, 1, X32_BIT), (RETURN, 0, 0, KILL_PROCESS)]
    return guards


def _by_argument(architecture: Architecture, *, gpus: bool) -> list[Instruction]:
    """Decide the calls whose danger lies in an argument.

    All of these are 32 bits wide to the kernel, so the low word is the whole truth; the order is
    little-endian on both architectures.
    """
    number = numbers(BY_ARGUMENT, architecture.column)
    namespaces = [
        (JUMP_SET, 0, 1, NEW_NAMESPACES),
        (RETURN, 0, 0, ERRNO | errno.EPERM),
        (RETURN, 0, 0, ALLOW),
    ]
    blocks = [
        (number["socket"], 0, _one_of((AF_UNIX, AF_INET), errno.EAFNOSUPPORT)),
        (number["socketpair"], 0, _one_of((AF_UNIX,), errno.EAFNOSUPPORT)),
        (number["ioctl"], 1, _requests_of_gpus() if gpus else _one_of(IOCTLS, errno.ENOTTY)),
        (number["personality"], 0, _one_of(PERSONALITIES, errno.EPERM)),
        (number["clone"], 0, namespaces),
    ]
    return [
        instruction
        for call, argument, block in blocks
        for instruction in (
            (JUMP_EQUAL, 0, len(block) + 1, call),
            (LOAD_WORD, 0, 0, ARGUMENTS + 8 * argument),
            *block,
        )
    ]


def _one_of(values: Iterable[int], refusal: int) -> list[Instruction]:
    block: list[Instruction] = []
    for value in values:
        block += [(JUMP_EQUAL, 0, 1, value), (RETURN, 0, 0, ALLOW)]
    return [*block, (RETURN, 0, 0, ERRNO | refusal)]


def _requests_of_gpus() -> list[Instruction]:
    *usual, refuse = _one_of((*IOCTLS, *UNIFIED), errno.ENOTTY)
    return [
        *usual,
        (JUMP_GREATER, 1, 0, UNIFIED_AT_MOST),
        (RETURN, 0, 0, ALLOW),
        (AND, 0, 0, GPU_TYPE_MASK),
        (JUMP_EQUAL, 0, 1, GPU_TYPE),
        (RETURN, 0, 0, ALLOW),
        refuse,
    ]


def _by_number(architecture: Architecture) -> list[Instruction]:
    """Allow the listed numbers, as ascending intervals; all else is unknown here (ENOSYS)."""
    unknown = ERRNO | errno.ENOSYS
    block: list[Instruction] = []
    for low, high in intervals(numbers(ALLOWED, architecture.column).values()):
        if low > 0:
            block += [(JUMP_GREATER, 1, 0, low - 1), (RETURN, 0, 0, unknown)]
        block += [(JUMP_GREATER, 1, 0, high), (RETURN, 0, 0, ALLOW)]
    return [*block, (RETURN, 0, 0, unknown)]


def intervals(values: Iterable[int]) -> list[tuple[int, int]]:
    """Return the closed intervals that cover exactly these numbers, ascending."""
    ascending = sorted(set(values))
    breaks = [(left, right) for left, right in pairwise(ascending) if right > left + 1]
    lows = [ascending[0], *(right for _, right in breaks)]
    highs = [*(left for left, _ in breaks), ascending[-1]]
    return list(zip(lows, highs, strict=True))
