"""The attacks of the self-test: each returns true when it worked."""

import ctypes
import errno
import os
import resource
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
# Their numbers on x86_64 and on aarch64.
CALLS = {"ptrace": (101, 117), "keyctl": (250, 219), "io_uring_setup": (425, 425),
         "bpf": (321, 280), "userfaultfd": (323, 282), "mount": (165, 40), "unshare": (272, 97),
         "setns": (308, 268),
         "perf_event_open": (298, 241), "memfd_create": (319, 279), "add_key": (248, 217),
         "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "clone3": (435, 435),
         "process_vm_readv": (310, 270), "open_by_handle_at": (304, 265)}  # fmt: skip
FEW_PROCESSES, STANDARD_ERROR = 64, 2
NEW_USER = 0x10000000
AF_NETLINK, AF_PACKET, AF_VSOCK = 16, 17, 40


def predict(
    cohort: Any,  # noqa: ARG001 - the contract's signature
    weights: Any,  # noqa: ARG001 - as above
    config: dict[str, Any],
) -> dict[str, float]:
    """Return 1.0 for each attack that worked."""
    attacks: dict[str, Callable[[], object]] = {
        "tcp": lambda: _tcp(config["port"]),
        "udp": lambda: _udp(config["port"]),
        "name_lookup": lambda: bool(socket.getaddrinfo("localhost", 53)),
        "unix_socket": lambda: _unix(config["socket"]),
        "abstract_socket": lambda: _unix("\0" + config["abstract"]),
        "netlink": lambda: bool(socket.socket(AF_NETLINK, socket.SOCK_RAW)),
        "packet": lambda: bool(socket.socket(AF_PACKET, socket.SOCK_RAW)),
        "vsock": lambda: bool(socket.socket(AF_VSOCK, socket.SOCK_STREAM)),
        "host_file": lambda: bool(open(config["canary_file"]).read()),
        "host_home": lambda: os.path.exists("/etc/passwd") or os.path.exists("/home"),
        "environment": lambda: config["canary_variable"] in os.environ,
        "init_environment": lambda: config["canary_variable"].encode() in _bytes("/proc/1/environ"),
        # In a kernel of its own the job is that kernel's init, and nothing of ours is in there.
        "init_memory": lambda: os.getpid() != 1 and bool(open("/proc/1/mem", "rb")),
        "init_pipes": lambda: any(open(f"/proc/1/fd/{n}", "wb") for n in range(3, 20)),
        "other_processes": lambda: any(
            int(name) > FEW_PROCESSES for name in os.listdir("/proc") if name.isdigit()
        ),
        "descriptors": _descriptors,
        "user_namespace": lambda: LIBC.unshare(NEW_USER) == 0,
        "write_code": lambda: bool(open("/job/code/planted", "w")),
        "write_input": lambda: bool(open("/job/in/cohort/planted", "w")),
        "write_root": lambda: bool(open("/planted", "w")),
        "write_kernel": lambda: bool(open("/proc/sys/kernel/core_pattern", "r+")),
        "read_kernel": lambda: bool(os.listdir("/proc/sys")) or bool(open("/proc/kallsyms")),
        "capabilities": lambda: _capabilities() != 0,
        "raise_limit": _raise_limit,
        **{f"call_{name}": partial(_call, name) for name in CALLS},
    }
    return {name: float(_worked(attack)) for name, attack in attacks.items()}


def _worked(attack: Callable[[], object]) -> bool:
    try:
        return bool(attack())
    except (OSError, ValueError, ImportError):
        return False


def _tcp(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=0.2):
        return True


def _udp(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(0.2)
        sender.connect(("192.0.2.1", port))  # TEST-NET-1: any route at all is one too many
        return True


def _unix(address: str) -> bool:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(0.2)
        caller.connect(address)
        return True


def _bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _descriptors() -> bool:
    """Say whether a descriptor is open that is neither a standard stream nor this listing's own."""
    found = os.listdir("/proc/self/fd")
    return any(
        int(name) > STANDARD_ERROR and os.path.exists(f"/proc/self/fd/{name}") for name in found
    )


def _capabilities() -> int:
    lines = _bytes("/proc/self/status").decode().splitlines()
    return sum(int(line.split()[1], 16) for line in lines if line.startswith(("CapEff", "CapPrm")))


def _raise_limit() -> bool:
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (hard + 1, hard + 1))
    return True


def _call(name: str) -> bool:
    """Say whether the kernel looked at the call at all: its filter answers ENOSYS or EPERM."""
    number = CALLS[name][os.uname().machine == "aarch64"]
    outcome = LIBC.syscall(number, -1, 0, 0, 0, 0)  # arguments no kernel acts on
    refused = ctypes.get_errno() in (errno.ENOSYS, errno.EPERM)
    return outcome != -1 or not refused


if __name__ == "__main__":
    sys.exit("this is the self-test's job: it runs inside the sandbox")
