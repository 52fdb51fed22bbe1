"""Runs inside the sandbox as PID 1: starts the vendor's code, outlives it, sends out its files.

Plain standard library, and no part of the gateway: it is bound read-only into the sandbox. Nothing
it says is believed: the supervisor caps its length, takes only names it expects, and the output
gate parses every byte.
"""

import contextlib
import ctypes
import errno
import json
import os
import resource
import signal
import stat
import struct
import sys
import traceback
from typing import Any, NoReturn

PACKAGES = "/job/runtime/packages"
CODE, INPUT, OUTPUT = "/job/code", "/job/in", "/job/out"
WHEELS = "/tmp/wheels"  # noqa: S108 - the sandbox's own
BEGUN = f"{OUTPUT}/.begun"  # in a kernel of its own the job's first line was reached
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 4, 22, 38
SECCOMP_MODE_FILTER = 2
CHUNK = 1 << 20
EXIT_CODES = {0: "ok", 101: "code_failed", 102: "out_of_memory", 103: "import_missing",
              104: "output_malformed", 105: "output_limit", 106: "too_many_bad_cases"}  # fmt: skip
RAISED = {"ContractBroken": 104, "TooManyBadCases": 106}  # by radfed_job
# And above: one exit code for each import that the manifest declares; below it lie runsc's own 128
# and, for a signal, 128 and its number.
DECLARED = 200
NO_ROOM = (errno.ENOSPC, errno.EFBIG)


def main(pipe: int, root: str, kernel: list[str]) -> None:
    """Run the vendor's code, in a kernel of its own where one is given, and send out its files."""
    settings = _settings(root)
    # Not dumpable: /proc/1/mem and /proc/1/fd belong to no process in here.
    _dumpable(0)
    child = os.fork()
    if child == 0:
        os.close(pipe)
        if kernel:
            os.execv(kernel[0], kernel)  # noqa: S606 - the supervisor's words
        alone(settings)
    if kernel:
        _no_capabilities()
    _, status = os.waitpid(child, 0)
    _end_everyone()
    if os.WIFSIGNALED(status):
        # Only the kernel's out-of-memory killer kills in here, unless the job does so itself.
        code = "out_of_memory" if os.WTERMSIG(status) == signal.SIGKILL else "code_failed"
    else:
        code = EXIT_CODES.get(os.WEXITSTATUS(status), "code_failed")
    subject = None
    if os.WIFEXITED(status) and DECLARED <= os.WEXITSTATUS(status) < DECLARED + 32:
        code, subject = "import_missing", os.WEXITSTATUS(status) - DECLARED
    if kernel and code != "ok" and not os.path.isdir(BEGUN):
        code, subject = "sandbox_fault", None  # its kernel did not start: an exit code of that one
    _send(pipe, code, settings["outputs"] if code == "ok" else [], subject)


def alone(settings: dict[str, Any]) -> NoReturn:
    """Become the vendor's code, for good: its exit code is all that is heard of it."""
    if settings["filter"]:
        os.mkdir(BEGUN)
        _forbid(bytes.fromhex(settings["filter"]))
    _confine(settings["limits"])
    os._exit(_vendor(settings["config"]))


def _settings(root: str = "") -> dict[str, Any]:
    with open(f"{root}{INPUT}/config.json", encoding="utf-8") as file:
        found: dict[str, Any] = json.load(file)
    return found


def _no_capabilities() -> None:
    """Give up what gVisor alone needed: files are read below as the job's owner reads them."""
    version, nobody = 0x20080522, 0
    header, none = struct.pack("=Ii", version, nobody), bytes(24)
    ctypes.CDLL(None).capset(header, none)


def _forbid(program: bytes) -> None:
    """Load the filter of system calls, for good, where bubblewrap could not (seccomp(2))."""
    held = ctypes.create_string_buffer(program, len(program))
    told = struct.pack("@HP", len(program) // 8, ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, told, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the filter of system calls does not load")


def _confine(limits: dict[str, int]) -> None:
    """Take the rest away before the vendor's first line; hard limits cannot be raised again."""
    _dumpable(1)
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")  # the job dies first, not its init
    os.nice(5)
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 1024,
        resource.RLIMIT_FSIZE: limits["file_bytes"],
        resource.RLIMIT_NPROC: limits["processes"],
    }
    if limits["address_space"]:
        wanted[resource.RLIMIT_AS] = limits["memory_bytes"]
    for name, value in wanted.items():
        resource.setrlimit(name, (value, value))


def _vendor(config: dict[str, Any]) -> int:
    """Import the vendor's `job.py`, do what its manifest's kind says, and return an exit code."""
    sys.path[:] = [*sys.path, PACKAGES, "/job/runtime/lib", CODE]
    try:
        import radfed_job  # type: ignore[import-not-found] # it lies beside, inside
        import radfed_wheels  # type: ignore[import-not-found] # as above

        if radfed_wheels.install(CODE, WHEELS):
            sys.path.insert(sys.path.index(CODE), WHEELS)
        radfed_job.run(config)
    except MemoryError:
        return 102
    except ImportError as fault:
        traceback.print_exc()
        return _import_missing(fault.name or "")
    except OSError as fault:
        traceback.print_exc()
        return 105 if fault.errno in NO_ROOM else 101
    except BaseException as fault:  # noqa: BLE001 - whatever it was, it gets a code
        traceback.print_exc()
        return RAISED.get(type(fault).__name__, 101)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _import_missing(name: str) -> int:
    """Say which one by its place in the reviewed manifest: no other name has a number."""
    import tomllib

    with open(f"{CODE}/job.toml", "rb") as file:
        declared = tomllib.load(file).get("imports", [])
    places = [
        place for place, known in enumerate(declared) if known == name.split(".", maxsplit=1)[0]
    ]
    return DECLARED + places[0] if places else 103


def _end_everyone() -> None:
    """Kill every process but this one, and wait until each is gone."""
    while True:
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _send(pipe: int, code: str, names: list[str], subject: int | None = None) -> None:
    """Write one frame: its JSON head's length, the head, the files' bytes in the head's order."""
    files = []
    for name in names:
        try:
            file = os.open(f"{OUTPUT}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            continue
        except OSError:
            _send(pipe, "output_malformed", [])
            return
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            _send(pipe, "output_malformed", [])
            return
        files.append((name, file, found.st_size))
    told = {"code": code, "outputs": [[name, size] for name, _, size in files], "subject": subject}
    head = json.dumps(told)
    _write(pipe, struct.pack("<I", len(head)) + head.encode())
    for _, file, size in files:
        left = size
        while left > 0 and (chunk := os.read(file, min(CHUNK, left))):
            _write(pipe, chunk)
            left -= len(chunk)


def _write(pipe: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(pipe, view) :]


def _dumpable(value: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, value, 0, 0, 0)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        alone(_settings())
    main(int(sys.argv[1]), "".join(sys.argv[2:3]), sys.argv[3:])
