import errno
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sandbox import seccomp
from gateway.sandbox.syscalls import ALLOWED, BY_ARGUMENT, numbers

ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
NEVER = {  # name: number on x86_64, on aarch64
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "pidfd_getfd": (438, 438), "unshare": (272, 97), "setns": (308, 268),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "move_mount": (429, 429), "open_tree": (428, 428), "fsopen": (430, 430), "clone3": (435, 435),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190), "init_module": (175, 105), "finit_module": (313, 273),
    "kexec_load": (246, 104), "reboot": (169, 142), "swapon": (167, 224), "syslog": (103, 116),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "seccomp": (317, 277),
    "fanotify_init": (300, 262), "quotactl": (179, 60), "acct": (163, 89), "bind_mount": (442, 442),
    "mknodat": (259, 33), "modify_ldt": (154, 9999), "iopl": (172, 9999), "setuid": (105, 146),
    "capset": (126, 91), "setgroups": (116, 159), "clock_settime": (227, 112),
}  # fmt: skip


def answer(machine, number, arguments=(), architecture=None, *, gpus=False):
    """Run the filter as the kernel would: classic BPF over struct seccomp_data."""
    words = [0] * 16
    words[0], words[1] = number, architecture or ARCHITECTURES[machine][0]
    for i, argument in enumerate(arguments):
        words[4 + 2 * i], words[5 + 2 * i] = argument & 0xFFFFFFFF, argument >> 32
    program = list(struct.iter_unpack("<HBBI", seccomp.program(machine, gpus=gpus)))
    accumulator, at = 0, 0
    while True:
        code, yes, no, k = program[at]
        at += 1
        if code == 0x20:
            accumulator = words[k // 4]
        elif code == 0x06:
            return k
        elif code == 0x54:
            accumulator &= k
        else:
            holds = {0x15: accumulator == k, 0x25: accumulator > k, 0x45: accumulator & k != 0}[
                code
            ]
            at += yes if holds else no


@pytest.fixture(params=ARCHITECTURES)
def machine(request):
    return request.param


def column(machine):
    return ARCHITECTURES[machine][1]


def test_every_number_is_answered_as_the_table_says(machine):
    allowed = set(numbers(ALLOWED, column(machine)).values())
    special = set(numbers(BY_ARGUMENT, column(machine)).values())

    for number in range(600):
        if number not in special:
            expected = seccomp.ALLOW if number in allowed else seccomp.ERRNO | errno.ENOSYS
            assert answer(machine, number) == expected


@pytest.mark.parametrize("name", NEVER)
def test_what_reaches_the_kernel_or_another_process_is_not_there(machine, name):
    number = NEVER[name][column(machine)]

    assert answer(machine, number) == seccomp.ERRNO | errno.ENOSYS


@given(st.integers(0, 50))
def test_sockets_are_of_two_families(family):
    for machine in ARCHITECTURES:
        socket = numbers(BY_ARGUMENT, column(machine))["socket"]
        expected = seccomp.ALLOW if family in (1, 2) else seccomp.ERRNO | errno.EAFNOSUPPORT

        assert answer(machine, socket, (family,)) == expected


def test_the_high_half_of_an_argument_hides_nothing(machine):
    socket = numbers(BY_ARGUMENT, column(machine))["socket"]
    vsock = 40 | 1 << 32

    assert answer(machine, socket, (vsock,)) == seccomp.ERRNO | errno.EAFNOSUPPORT


@pytest.mark.parametrize("bit", [17, 25, 26, 27, 28, 29, 30])
def test_clone_makes_threads_and_processes_but_no_namespace(machine, bit):
    clone = numbers(BY_ARGUMENT, column(machine))["clone"]

    assert answer(machine, clone, (0x3D0F00,)) == seccomp.ALLOW  # pthread_create
    assert answer(machine, clone, (0x3D0F00 | 1 << bit,)) == seccomp.ERRNO | errno.EPERM


def test_terminals_are_asked_but_never_fed(machine):
    ioctl = numbers(BY_ARGUMENT, column(machine))["ioctl"]

    assert answer(machine, ioctl, (0, 0x5413)) == seccomp.ALLOW  # TIOCGWINSZ
    assert answer(machine, ioctl, (0, 0x5412)) == seccomp.ERRNO | errno.ENOTTY  # TIOCSTI


def test_another_abi_is_death(machine):
    assert answer(machine, 0, architecture=0x40000003) == seccomp.KILL_PROCESS  # i386


def test_x32_is_death():
    assert answer("x86_64", 0x40000000 | 101) == seccomp.KILL_PROCESS


def test_an_unknown_processor_has_no_filter():
    assert seccomp.program("sparc64") is None


@given(st.sets(st.integers(0, 200), min_size=1))
def test_intervals_cover_exactly_the_numbers(values):
    found = seccomp.intervals(values)

    assert {n for low, high in found for n in range(low, high + 1)} == values
    assert all(right[0] > left[1] + 1 for left, right in pairwise(found))


# _IOWR('F', 0x2A, ..) and its kin of nvidiactl; UVM_MAP_EXTERNAL_ALLOCATION; UVM_INITIALIZE.
OF_A_DRIVER = (0xC020462A, 0xC00846D6, 33, 0x30000001)
TIOCSTI, TIOCLINUX, FIONREAD = 0x5412, 0x541C, 0x541B


@pytest.mark.parametrize("request_", [*OF_A_DRIVER, TIOCSTI, TIOCLINUX, 0x30000003, 0x4602_54_12])
def test_a_driver_is_asked_by_jobs_with_a_card_alone(machine, request_):
    ioctl = numbers(BY_ARGUMENT, column(machine))["ioctl"]
    refused, with_card = seccomp.ERRNO | errno.ENOTTY, request_ in OF_A_DRIVER

    assert answer(machine, ioctl, (3, request_)) == refused
    assert answer(machine, ioctl, (3, request_), gpus=True) == (
        seccomp.ALLOW if with_card else refused
    )
    assert answer(machine, ioctl, (3, FIONREAD), gpus=True) == seccomp.ALLOW
