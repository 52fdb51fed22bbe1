"""How a job is confined: every bubblewrap argument and limit, decided here, done in runner.py."""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path

from gateway.model import Isolation, Pseudonym

OUTPUTS = ("weights.safetensors", "predictions.csv", "boxes.csv", "masks.bin", "metrics.json")
VALIDATION_SHARE = 0.4  # so that a hospital of some 60 patients still holds out 10 + 10
TEST_SHARE = 0.1  # seen by no job but one with a protocol, and by that once
TMP_BYTES = 256 << 20
PROTOCOL_BYTES = 4096  # the harness's frame around the outputs
SANDBOX_UID = 65534

# All of the new /proc that is not a process: what is not kept is covered. Bubblewrap alone leaves
# /proc/sys writable to a job of a gateway started by root: its uid owns core_pattern on the host.
PROC_KEPT = frozenset({"self", "thread-self", "cpuinfo", "meminfo", "stat", "loadavg", "uptime",
                       "version", "mounts", "net"})  # fmt: skip

# What of ours lies inside beside the harness.
LIBRARY = ("radfed_job.py", "radfed_places.py", "radfed_wheels.py", "radfed_flower.py",
           "radfed_features.py", "radfed_shipped.py")  # fmt: skip
CODE, INPUT, OUTPUT, RUNTIME = "/job/code", "/job/in", "/job/out", "/job/runtime"
DRIVER = f"{RUNTIME}/driver"  # of a graphics processor


class FailureCode(StrEnum):
    """How a job failed: a closed set, because a failure code is a channel too."""

    CODE_FAILED = "code_failed"  # the vendor's code raised, crashed or gave up
    IMPORT_MISSING = "import_missing"  # it imports what the runtime does not have
    OUT_OF_MEMORY = "out_of_memory"
    WALL_LIMIT = "wall_limit"
    OUTPUT_LIMIT = "output_limit"
    OUTPUT_MALFORMED = "output_malformed"  # no plain files of the declared names came out
    TOO_MANY_BAD_CASES = "too_many_bad_cases"  # more could not be read than the manifest allows
    WITHDRAWN = "withdrawn"  # by the steward or the coordinator, while it ran
    SANDBOX_FAULT = "sandbox_fault"  # ours, not the vendor's


class Split(StrEnum):
    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"


def split_of(patient: Pseudonym, key: bytes, share: float = VALIDATION_SHARE) -> Split:
    """Put a patient on one side for ever: the same in every study, job and year.

    Keyed, so that nobody outside can tell (or choose) who is held out. Tested are those at the far
    end, so that another share for validation moves nobody out of the test.
    """
    drawn = int.from_bytes(hmac.digest(key, patient.encode(), sha256)[:8], "big") / 2**64
    if drawn >= 1 - TEST_SHARE:
        return Split.TEST
    return Split.VALIDATION if drawn < share else Split.TRAINING


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job may take of this machine."""

    memory_bytes: int = 4 << 30
    processes: int = 64
    output_bytes: int = 1 << 30
    threads: int = 1  # processors: what libraries are told, and a cgroup enforces

    def at_most(self, memory_bytes: int | None) -> "Limits":
        """Return these limits, lowered to what the job's manifest asks for."""
        if memory_bytes is None or memory_bytes >= self.memory_bytes:
            return self
        return Limits(memory_bytes, self.processes, self.output_bytes, self.threads)


@dataclass(frozen=True, slots=True)
class Runtime:
    """The interpreter and the packages a job finds inside, all read-only."""

    executable: Path
    same_place: tuple[Path, ...]  # bound where they lie: the standard library, shared libraries
    links: tuple[tuple[str, str], ...]  # (target, link): /lib -> usr/lib where the host is merged
    packages: tuple[Path, ...]  # bound below RUNTIME/packages
    harness: Path  # our own directory with harness.py and radfed_job.py


@dataclass(frozen=True, slots=True)
class Confinement:
    """What this machine lets us do, found out once at start."""

    bwrap: Path
    proc_folders: tuple[str, ...]  # this kernel's entries of /proc that are covered
    proc_files: tuple[str, ...]
    disable_userns: bool = True
    has_seccomp: bool = True
    runsc: Path | None = None  # jobs run in gVisor

    @property
    def isolation(self) -> Isolation:
        return Isolation.GVISOR if self.runsc else Isolation.BUBBLEWRAP


@dataclass(frozen=True, slots=True)
class Device:
    """A device node, and where a job finds it."""

    here: Path
    inside: str


@dataclass(frozen=True, slots=True)
class Given:
    """What one job is given: its own cards, and what all jobs with one share."""

    devices: tuple[Device, ...] = ()
    libraries: tuple[Path, ...] = ()


NOTHING = Given()


@dataclass(frozen=True, slots=True)
class Inside:
    """What one run sees: host paths that are bound read-only."""

    code: Path
    cohort: Path
    weights: Path | None = None
    gpus: Given = NOTHING  # devices it may write to, and what it needs to use them


@dataclass(frozen=True, slots=True)
class Descriptors:
    """The only descriptors that cross into bubblewrap; the harness keeps `output` alone."""

    output: int
    config: int
    info: int
    seccomp: int | None
    container: int | None = None  # what gVisor is told

    def all(self) -> tuple[int, ...]:
        crossing = (self.output, self.config, self.info, self.seccomp, self.container)
        return tuple(one for one in crossing if one is not None)


def bwrap_arguments(
    confinement: Confinement,
    runtime: Runtime,
    limits: Limits,
    inside: Inside,
    descriptors: Descriptors,
) -> list[str]:
    """Return the whole bubblewrap command up to the harness's own arguments.

    `--as-pid-1` makes the harness the init of its PID namespace: a job's processes cannot signal
    it, and when it ends or is killed the kernel kills every one of them first.
    """
    return [
        str(confinement.bwrap),
        *("--unshare-user", "--unshare-all", "--die-with-parent", "--new-session", "--as-pid-1"),
        *(["--disable-userns"] if confinement.disable_userns else []),
        *("--uid", str(SANDBOX_UID), "--gid", str(SANDBOX_UID), "--hostname", "job"),
        *("--cap-drop", "ALL"),
        "--clearenv",
        *(word for item in environment(limits, inside).items() for word in ("--setenv", *item)),
        *_file_system(confinement, runtime, limits, inside, descriptors),
        *("--info-fd", str(descriptors.info)),
        *([] if descriptors.seccomp is None else ["--seccomp", str(descriptors.seccomp)]),
        *("--", *harness(runtime, descriptors.output)),
    ]


def harness(runtime: Runtime, output: int | None = None) -> list[str]:
    """Return the command of the sandbox's init; without a descriptor for outputs, it sends none."""
    command = [str(runtime.executable), "-I", "-S", "-B", f"{RUNTIME}/harness.py"]
    return command if output is None else [*command, str(output)]


def environment(limits: Limits, inside: Inside) -> Mapping[str, str]:
    threads = str(limits.threads)
    return {
        **({"LD_LIBRARY_PATH": DRIVER} if inside.gpus.libraries else {}),
        "HOME": "/tmp",  # noqa: S108 - the sandbox's own
        "TMPDIR": "/tmp",  # noqa: S108 - as above
        "LANG": "C.UTF-8",
        "FLWR_TELEMETRY_ENABLED": "0",  # no network would carry it; nor does it try
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
    }


def _kernel(confinement: Confinement) -> list[str]:
    """Mount /proc and /dev, and cover whatever of them is not the job's own."""
    folders = [f"/proc/{name}" for name in confinement.proc_folders]
    files = [f"/proc/{name}" for name in confinement.proc_files]
    return [
        *("--proc", "/proc", "--dev", "/dev"),
        *(
            word
            for folder in folders
            for word in ("--size", "4096", "--tmpfs", folder, "--remount-ro", folder)
        ),
        # A device on a mount without devices: nobody can open it.
        *(word for file in files for word in ("--ro-bind", "/dev/null", file)),
    ]


def _file_system(
    confinement: Confinement,
    runtime: Runtime,
    limits: Limits,
    inside: Inside,
    descriptors: Descriptors,
) -> list[str]:
    return [
        *_kernel(confinement),
        *(
            word
            for device in inside.gpus.devices
            for word in ("--dev-bind", str(device.here), device.inside)
        ),
        *writable(limits),
        *interpreter(runtime),  # after /tmp: it may lie below that
        *read_only(runtime, inside),
        *("--ro-bind-data", str(descriptors.config), f"{INPUT}/config.json"),
        *("--remount-ro", "/", "--chdir", "/tmp"),  # noqa: S108 - the sandbox's own
    ]


def writable(limits: Limits) -> list[str]:
    """Mount what a job may write: memory with a size."""
    tmp = str(min(TMP_BYTES, limits.memory_bytes))
    # Half a MiB beside the outputs themselves: a job that writes more gets ENOSPC, not our memory.
    output = str(limits.output_bytes + (512 << 10))
    return [
        *("--perms", "0700", "--size", tmp, "--tmpfs", "/dev/shm"),  # noqa: S108 - the sandbox's own
        *("--remount-ro", "/dev"),
        *("--perms", "0700", "--size", tmp, "--tmpfs", "/tmp"),  # noqa: S108 - the sandbox's own
        *("--perms", "0700", "--size", output, "--tmpfs", OUTPUT),
    ]


def interpreter(runtime: Runtime, below: str = "") -> list[str]:
    """Bind Python and its libraries, below a directory."""
    return [
        *(word for at in runtime.same_place for word in ("--ro-bind", str(at), f"{below}{at}")),
        *(word for to, link in runtime.links for word in ("--symlink", to, below + link)),
    ]


def read_only(runtime: Runtime, inside: Inside, below: str = "") -> Sequence[str]:
    """Bind what a job may read, below a directory: the code, its packages, the cohort."""
    binds = [
        (runtime.harness / "harness.py", f"{RUNTIME}/harness.py"),
        *((runtime.harness / name, f"{RUNTIME}/lib/{name}") for name in LIBRARY),
        *((path, f"{RUNTIME}/packages/{path.name}") for path in runtime.packages),
        (inside.code, CODE),
        (inside.cohort, f"{INPUT}/cohort"),
    ]
    binds += [(path, f"{DRIVER}/{path.name}") for path in inside.gpus.libraries]
    if inside.weights is not None:
        binds.append((inside.weights, f"{INPUT}/weights.safetensors"))
    return [word for at, to in binds for word in ("--ro-bind", str(at), below + to)]
