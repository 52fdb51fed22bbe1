"""gVisor within bubblewrap: what both are told, so that a job has a kernel of its own."""

import json
from typing import Any

from gateway.sandbox.rules import (
    INPUT,
    OUTPUT,
    RUNTIME,
    Confinement,
    Descriptors,
    Inside,
    Limits,
    Runtime,
    environment,
    harness,
    interpreter,
    read_only,
    writable,
)

ROOT = "/inside"  # what the job sees as `/`, where bubblewrap puts it for gVisor
WRITABLE = ("/tmp", "/dev/shm", OUTPUT)  # noqa: S108 - the sandbox's own
MOUNT_POINTS = ("/proc", "/sys", *WRITABLE)
# With two processors gVisor keeps 48 of this machine's threads for itself and 9 for each process of
# a job; with more processors more. This is room for them.
OWN_THREADS, THREADS_OF_A_PROCESS, OF_EACH_PROCESSOR = 128, 8, 4


def arguments(
    confinement: Confinement,
    runtime: Runtime,
    limits: Limits,
    inside: Inside,
    descriptors: Descriptors,
) -> list[str]:
    """Return the whole command: bubblewrap, our harness as its init, and runsc as its one child.

    The capabilities are those of bubblewrap's own user namespace: runsc makes its namespaces with
    them and takes a root of its own, and the job inside gets none. Our filter of system calls is
    loaded in there: out here runsc needs what it forbids, and has a filter of its own.
    """
    return [
        str(confinement.bwrap),
        *("--unshare-user", "--unshare-all", "--die-with-parent", "--new-session", "--as-pid-1"),
        *("--uid", "0", "--gid", "0", "--hostname", "job", "--cap-add", "ALL", "--clearenv"),
        *("--proc", "/proc", "--dev", "/dev", *writable(limits)),
        *("--size", str(1 << 20), "--tmpfs", "/state"),
        *interpreter(runtime),
        *("--ro-bind", str(runtime.harness / "harness.py"), f"{RUNTIME}/harness.py"),
        *("--ro-bind", str(confinement.runsc), "/runsc"),
        *("--ro-bind-data", str(descriptors.container), "/bundle/config.json"),
        *(word for at in MOUNT_POINTS for word in ("--dir", ROOT + at)),
        *interpreter(runtime, ROOT),
        *read_only(runtime, inside, ROOT),
        *("--ro-bind-data", str(descriptors.config), f"{ROOT}{INPUT}/config.json"),
        *("--remount-ro", "/", "--info-fd", str(descriptors.info)),
        *("--", *harness(runtime, descriptors.output), ROOT),
        *("/runsc", "--rootless", "--network=none", "--ignore-cgroups", "--overlay2=none"),
        *("--root=/state", "run", "--bundle=/bundle", "job"),
    ]


def container(runtime: Runtime, limits: Limits, inside: Inside) -> bytes:
    """Return the container's `config.json` (OCI runtime specification 1.0)."""
    told: dict[str, Any] = {
        "ociVersion": "1.0.0",
        "process": {
            # The gateway's user, as bubblewrap's namespace calls it: nobody else may read the
            # inputs. Without a capability it is nobody in particular.
            "user": {"uid": 0, "gid": 0},
            "args": harness(runtime),
            "env": [f"{name}={value}" for name, value in environment(limits, inside).items()],
            "cwd": "/tmp",  # noqa: S108 - the sandbox's own
            "capabilities": {},
            "noNewPrivileges": True,
        },
        "root": {"path": ROOT, "readonly": True},
        "hostname": "job",
        "mounts": [
            _mount("/proc", "proc"),
            *(_mount(at, "bind", at, "rbind", "rw") for at in WRITABLE),
            # Not this machine's settings, and nothing a job needs.
            _mount("/proc/sys", "tmpfs", "tmpfs", "ro", "size=4096"),
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")]
        },
    }
    return json.dumps(told).encode()


def threads(limits: Limits, processors: int) -> int:
    """Return how many threads gVisor may come to, which counts a job's own by itself."""
    of_a_process = THREADS_OF_A_PROCESS + OF_EACH_PROCESSOR * processors
    return OWN_THREADS + of_a_process * (limits.processes + OF_EACH_PROCESSOR)


def _mount(at: str, kind: str, source: str = "none", *options: str) -> dict[str, Any]:
    return {"destination": at, "type": kind, "source": source, "options": list(options)}
