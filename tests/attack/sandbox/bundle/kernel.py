"""Ways through the kernel: keyrings, IPC, namespaces, io_uring, bpf, perf, mounts, devices, setuid.

The numbers are those of x86_64 and aarch64.
"""

import ctypes
import os
import stat
import subprocess

LIBC = ctypes.CDLL(None, use_errno=True)
ARM = os.uname().machine == "aarch64"
CALLS = {"keyctl": (250, 219), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190),
         "io_uring_setup": (425, 425), "bpf": (321, 280), "perf_event_open": (298, 241),
         "mount": (165, 40), "unshare": (272, 97), "userfaultfd": (323, 282), "ptrace": (101, 117),
         "clone3": (435, 435), "memfd_create": (319, 279), "kexec_load": (246, 104),
         "mq_open": (240, 180), "shmat": (30, 196)}  # fmt: skip
NEW_USER, NEW_MOUNTS, NEW_NETWORK = 0x10000000, 0x00020000, 0x40000000
KEYCTL_READ, SHARED_READ_ONLY = 11, 0o10000
PTRACE_SEIZE, NO_NEW_PRIVILEGES = 0x4206, 39
TIOCSTI = 0x5412


def call(name, *arguments):
    """Make a system call and raise what it answers."""
    LIBC.syscall.restype = ctypes.c_long
    numbered = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    found = LIBC.syscall(CALLS[name][ARM], *numbered)
    if found == -1:
        raise OSError(ctypes.get_errno(), name)
    return found


def in_a_child(attack):
    """Say whether it works, in a process that it may spoil."""
    child = os.fork()
    if child == 0:
        try:
            code = 0 if attack() else 1
        except BaseException:
            code = 1
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def keyring(config):
    held = ctypes.create_string_buffer(64)
    length = call("keyctl", KEYCTL_READ, config["key"], held, 64)
    return held.raw[:length] == config["secret"].encode()


def sysv_memory(config):
    LIBC.syscall.restype = ctypes.c_long
    segment = call("shmget", config["shared"], 0, 0)
    at = call("shmat", segment, 0, SHARED_READ_ONLY)
    return ctypes.string_at(at, len(config["secret"])) == config["secret"].encode()


def sysv_messages(config):
    return call("msgget", 0, 0o1600) >= 0


def sysv_semaphores(config):
    return call("semget", 0, 1, 0o1600) >= 0


def proc_kernel(config):
    return bool(os.listdir("/proc/sys"))


def proc_kallsyms(config):
    return os.path.getsize("/proc/kallsyms") == 0 and bool(open("/proc/kallsyms").readline())


def proc_others(config):
    """More processes than a job of three has."""
    return sum(name.isdigit() for name in os.listdir("/proc")) > 8


def user_namespace(config):
    return in_a_child(lambda: call("unshare", NEW_USER) == 0)


def user_namespace_by_clone(config):
    def attack():
        found = LIBC.syscall(56 if not ARM else 220, NEW_USER | 17, 0, 0, 0, 0)
        if found == 0:
            os._exit(0)
        return found > 0

    return in_a_child(attack)


def user_namespace_by_clone3(config):
    def attack():
        wanted = (ctypes.c_uint64 * 8)(NEW_USER, 0, 0, 0, 17, 0, 0, 0)
        found = call("clone3", wanted, ctypes.sizeof(wanted))
        if found == 0:
            os._exit(0)
        return found > 0

    return in_a_child(attack)


def io_uring(config):
    parameters = ctypes.create_string_buffer(120)
    return call("io_uring_setup", 4, parameters) >= 0


def bpf(config):
    array = (ctypes.c_uint32 * 16)(2, 4, 4, 1)  # BPF_MAP_TYPE_ARRAY of one word
    return call("bpf", 0, array, ctypes.sizeof(array)) >= 0


def perf(config):
    attributes = (ctypes.c_uint32 * 32)(1, 128)  # PERF_TYPE_SOFTWARE, of itself
    attributes[10] = 0x60  # exclude the kernel and the hypervisor
    return call("perf_event_open", attributes, 0, -1, -1, 0) >= 0


def userfaultfd(config):
    return call("userfaultfd", 1) >= 0


def ptrace(config):
    return call("ptrace", PTRACE_SEIZE, config["gateway"], 0, 0) == 0


def mount(config):
    def attack():
        if os.geteuid() != 0:
            call("unshare", NEW_USER | NEW_MOUNTS)
        else:
            call("unshare", NEW_MOUNTS)
        return call("mount", b"x", b"/tmp", b"tmpfs", 0, 0) == 0

    return in_a_child(attack)


def device_node(config):
    path = f"{config['scratch']}/memory-{os.getpid()}"
    os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero; a disk goes the same way
    try:
        return stat.S_ISCHR(os.stat(path).st_mode)
    finally:
        os.unlink(path)


def setuid_program(config):
    said = subprocess.run([config["setuid"], "-u"], capture_output=True, check=False).stdout
    return said.strip() == b"0"


def new_privileges(config):
    """Nothing forbids that a program gains privileges by being started."""
    return LIBC.prctl(NO_NEW_PRIVILEGES, 0, 0, 0, 0) == 0


def capabilities(config):
    with open("/proc/self/status") as status:
        held = [int(line.split()[1], 16) for line in status if line.startswith("CapBnd")]
    return any(held)


ATTACKS = {
    attack.__name__: attack
    for attack in (
        keyring, sysv_memory, sysv_messages, sysv_semaphores, proc_kernel, proc_kallsyms,
        proc_others, user_namespace, user_namespace_by_clone, user_namespace_by_clone3, io_uring,
        bpf, perf, userfaultfd, ptrace, mount, device_node, setuid_program, new_privileges,
        capabilities,
    )
}  # fmt: skip
