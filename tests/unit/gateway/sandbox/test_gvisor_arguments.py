import json
from pathlib import Path

import pytest

from gateway.sandbox import gvisor
from gateway.sandbox.rules import Confinement, Descriptors, Inside, Limits, Runtime

RUNTIME = Runtime(
    executable=Path("/opt/python/bin/python3"),
    same_place=(Path("/opt/python"), Path("/usr/lib/x86_64-linux-gnu")),
    links=(("usr/lib", "/lib"),),
    packages=(Path("/venv/site-packages/numpy"),),
    harness=Path("/gateway/runtime"),
)
CONFINEMENT = Confinement(Path("/usr/bin/bwrap"), (), (), runsc=Path("/usr/bin/runsc"))
INSIDE = Inside(Path("/data/code"), Path("/data/cohort"), Path("/data/weights"))
TOLD = json.loads(gvisor.container(RUNTIME, Limits(), INSIDE))


def arguments():
    descriptors = Descriptors(output=7, config=8, info=9, seccomp=None, container=11)
    return gvisor.arguments(CONFINEMENT, RUNTIME, Limits(), INSIDE, descriptors)


@pytest.mark.parametrize(
    "wanted",
    [
        ("--unshare-user", "--unshare-all", "--die-with-parent", "--new-session", "--as-pid-1"),
        ("--clearenv",),
        ("--remount-ro", "/"),
        ("--ro-bind", "/data/code", "/inside/job/code"),
        ("--ro-bind", "/data/cohort", "/inside/job/in/cohort"),
        ("--rootless", "--network=none"),
    ],
)
def test_every_wall_of_bubblewrap_stands_around_gvisor(wanted):
    given = arguments()

    assert any(
        tuple(given[i : i + len(wanted)]) == wanted for i in range(len(given) - len(wanted) + 1)
    )


@pytest.mark.parametrize("never", ["--share-net", "--bind", "--dev-bind", "--bind-data"])
def test_nothing_of_the_host_is_written_or_shared(never):
    assert never not in arguments()


def test_outputs_go_out_by_the_init_outside_of_gvisor():
    given = arguments()
    harness = given.index("/job/runtime/harness.py", given.index("--"))

    assert given[harness : harness + 4] == ["/job/runtime/harness.py", "7", "/inside", "/runsc"]
    assert TOLD["process"]["args"][-1] == "/job/runtime/harness.py"  # and no descriptor


def test_the_container_has_no_capability_no_network_and_a_root_it_cannot_write():
    assert TOLD["process"]["capabilities"] == {}
    assert TOLD["process"]["noNewPrivileges"] is True
    assert TOLD["root"] == {"path": "/inside", "readonly": True}
    assert {"type": "network"} in TOLD["linux"]["namespaces"]
    written = {one["destination"] for one in TOLD["mounts"] if "rw" in one["options"]}
    assert written == {"/tmp", "/dev/shm", "/job/out"}


def test_the_environment_is_ours_alone():
    assert {one.partition("=")[0] for one in TOLD["process"]["env"]} == {
        "HOME", "TMPDIR", "LANG", "FLWR_TELEMETRY_ENABLED", "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
    }  # fmt: skip


@pytest.mark.parametrize(("processes", "processors"), [(40, 2), (64, 64)])
def test_there_is_room_for_the_threads_that_were_measured(processes, processors):
    measured = 48 + 9 * processes  # with two processors

    assert gvisor.threads(Limits(processes=processes), processors) > measured * (processors / 4)
