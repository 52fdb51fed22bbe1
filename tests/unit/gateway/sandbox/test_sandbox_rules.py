from pathlib import Path

import pytest

from gateway.model import Pseudonym
from gateway.sandbox.rules import (
    Confinement,
    Descriptors,
    Inside,
    Limits,
    Runtime,
    Split,
    bwrap_arguments,
    split_of,
)

RUNTIME = Runtime(
    executable=Path("/opt/python/bin/python3"),
    same_place=(Path("/opt/python"), Path("/usr/lib/x86_64-linux-gnu")),
    links=(("usr/lib", "/lib"),),
    packages=(Path("/venv/site-packages/numpy"),),
    harness=Path("/gateway/runtime"),
)
CONFINEMENT = Confinement(Path("/usr/bin/bwrap"), ("sys", "irq"), ("kcore",))
INSIDE = Inside(Path("/data/code"), Path("/data/cohort"), Path("/data/weights"))


def arguments(confinement=CONFINEMENT, inside=INSIDE, limits=None):
    descriptors = Descriptors(output=7, config=8, info=9, seccomp=10)
    return bwrap_arguments(confinement, RUNTIME, limits or Limits(), inside, descriptors)


@pytest.mark.parametrize(
    "wanted",
    [
        ("--unshare-user", "--unshare-all"),
        ("--disable-userns",),
        ("--die-with-parent",),
        ("--new-session",),
        ("--as-pid-1",),
        ("--cap-drop", "ALL"),
        ("--clearenv",),
        ("--seccomp", "10"),
        ("--remount-ro", "/"),
        ("--remount-ro", "/dev"),
        ("--remount-ro", "/proc/sys"),
        ("--ro-bind", "/dev/null", "/proc/kcore"),
        ("--ro-bind", "/data/code", "/job/code"),
    ],
)
def test_every_wall_stands(wanted):
    given = arguments()

    assert any(
        tuple(given[i : i + len(wanted)]) == wanted for i in range(len(given) - len(wanted) + 1)
    )


@pytest.mark.parametrize(
    "never", ["--share-net", "--bind", "--dev-bind", "--cap-add", "--bind-data"]
)
def test_no_door_is_open(never):
    assert never not in arguments()


def test_every_writable_place_is_a_tmpfs_with_a_size():
    given = arguments()

    places = [i for i, word in enumerate(given) if word == "--tmpfs"]
    assert places
    assert all(given[i - 2] == "--size" for i in places)


def test_the_environment_holds_nothing_of_the_gateways():
    given = arguments()
    names = {given[i + 1] for i, word in enumerate(given) if word == "--setenv"}

    assert names == {"HOME", "TMPDIR", "LANG", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
                     "MKL_NUM_THREADS", "FLWR_TELEMETRY_ENABLED"}  # fmt: skip


def test_weights_are_bound_only_where_there_are_some():
    assert "/job/in/weights.safetensors" in arguments()
    assert "/job/in/weights.safetensors" not in arguments(inside=Inside(INSIDE.code, INSIDE.cohort))


def test_a_manifest_can_lower_the_memory_but_never_raise_it():
    limits = Limits(memory_bytes=1000)

    assert limits.at_most(500).memory_bytes == 500
    assert limits.at_most(5000).memory_bytes == 1000
    assert limits.at_most(None) == limits


def test_a_patient_stays_on_one_side_and_no_outsider_can_tell_which():
    patients = [Pseudonym(f"P{i}") for i in range(2000)]

    ours = [split_of(patient, b"a" * 32) for patient in patients]
    others = [split_of(patient, b"b" * 32) for patient in patients]

    assert ours == [split_of(patient, b"a" * 32) for patient in patients]
    assert ours != others
    assert 0.35 < ours.count(Split.VALIDATION) / 2000 < 0.45
    assert 0.07 < ours.count(Split.TEST) / 2000 < 0.13
    assert [s for s in ours if s is Split.TEST] == [
        s for p, s in zip(patients, ours, strict=True) if split_of(p, b"a" * 32, 0.1) is Split.TEST
    ]
