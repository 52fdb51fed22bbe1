"""What a hostile job finds within reach of its gateway: each thing holds one secret."""

import contextlib
import ctypes
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
ARM = os.uname().machine == "aarch64"
ADD_KEY, SHMGET, SHMAT, SHMCTL = (217, 194, 196, 195) if ARM else (248, 29, 30, 31)
USER_KEYRING, CREATE, REMOVE = -4, 0o1600, 0


@contextlib.contextmanager
def within_reach(folder: Path):
    """Plant one secret everywhere and yield what a job needs to know to look for it."""
    secret = f"ZHANG^WEI-{secrets.token_hex(8)}"
    with contextlib.ExitStack() as planted:
        yield {
            "secret": secret,
            "gateway": os.getpid(),
            "gateway_name": Path(sys.argv[0]).name,
            **_files(folder, secret, planted),
            **_network(folder, secret, planted),
            **_memory(secret, planted),
            "setuid": os.environ.get("SETUID", "/nowhere"),
        }


def _files(folder: Path, secret: str, planted: contextlib.ExitStack):
    hospital, other = folder / "hospital.txt", folder / "other" / "in" / "cohort.json"
    other.parent.mkdir(parents=True)
    for path in (hospital, other):
        path.write_text(secret)
    forgotten = os.open(hospital, os.O_RDONLY)
    os.set_inheritable(forgotten, True)  # noqa: FBT003 - the platform's own signature
    planted.callback(os.close, forgotten)
    os.environ["RADFED_SECRET"] = secret
    return {"file": str(hospital), "other_job": str(other)}


def _network(folder: Path, secret: str, planted: contextlib.ExitStack):
    name = f"radfed-{secrets.token_hex(8)}"
    tcp = planted.enter_context(socket.socket())
    udp = planted.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    path, abstract = (planted.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2))
    tcp.bind(("127.0.0.1", 0))
    udp.bind(("127.0.0.1", 0))
    path.bind(str(folder / "socket"))
    abstract.bind("\0" + name)
    for door in (tcp, path, abstract):
        door.listen()
        threading.Thread(target=_tell, args=(door, secret.encode()), daemon=True).start()
    threading.Thread(target=_echo, args=(udp,), daemon=True).start()
    return {
        "tcp": tcp.getsockname()[1],
        "udp": udp.getsockname()[1],
        "unix": str(folder / "socket"),
        "abstract": name,
    }


def _tell(door: socket.socket, secret: bytes) -> None:
    with contextlib.suppress(OSError):
        while True:
            caller, _ = door.accept()
            caller.sendall(secret)
            caller.close()


def _echo(door: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            message, caller = door.recvfrom(512)
            door.sendto(message, caller)


def _memory(secret: str, planted: contextlib.ExitStack):
    """The gateway's own memory, a key in its user's keyring, a System V segment."""
    held = ctypes.create_string_buffer(secret.encode())
    planted.callback(lambda: held)  # alive as long as it may be looked for
    LIBC.syscall.restype = ctypes.c_long
    key = LIBC.syscall(ADD_KEY, b"user", b"radfed", held, len(secret), USER_KEYRING)
    name = secrets.randbelow(1 << 30) + 1
    segment = LIBC.syscall(SHMGET, name, 4096, CREATE)
    if segment >= 0:
        at = LIBC.syscall(SHMAT, segment, 0, 0)
        ctypes.memmove(at, held, len(secret))
        planted.callback(LIBC.syscall, SHMCTL, segment, REMOVE, 0)
    return {"address": ctypes.addressof(held), "key": key, "shared": name}


def processes_named(name: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (entry / "cmdline").read_bytes().split(b"\0")[0] == name.encode():
                found.append(int(entry.name))
    return found


def unconfined(folder: Path, bundle: Path, config, seconds: float = 60.0):
    """Start the job as the naive gateway does: a child of its own, nothing closed or cleared."""
    program = (
        "import json, sys; sys.dont_write_bytecode = True; sys.path.insert(0, sys.argv[1])\n"
        "import job; print(json.dumps(job.predict((), {}, json.loads(sys.argv[2]))))"
    )
    return subprocess.run(
        [sys.executable, "-c", program, str(bundle), json.dumps(config)],
        capture_output=True,
        check=False,
        close_fds=False,
        cwd=folder,
        timeout=seconds,
    )
