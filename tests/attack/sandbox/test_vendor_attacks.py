"""A hostile vendor's bundle, run by an ordinary user's gateway: nothing of it works confined."""

import os
import shutil

import pytest

from tests.attack.sandbox import ordinary
from tests.fakes import isolating

pytestmark = [
    pytest.mark.attack,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        os.geteuid() == 0 and not (shutil.which("setpriv") and shutil.which("unshare")),
        reason="root needs setpriv and unshare to become an ordinary user",
    ),
]

# What a kernel may lack or forbid its users by a switch: there the attack is not one.
DEPENDS_ON_THE_KERNEL = {"vsock", "io_uring", "bpf", "perf", "userfaultfd", "keyring", "ptrace",
                         "user_namespace", "user_namespace_by_clone", "user_namespace_by_clone3",
                         "mount", "gateway_memory", "supervisor_memory", "routes", "hardlink",
                         "host_file_by_parent", "proc_kallsyms"}  # fmt: skip
FOR_ROOT_ONLY = {"device_node", "packet", "bpf", "setuid_program"}  # the last is planted by root


@pytest.fixture(scope="module", params=["cgroup", "rlimits"])
def limits(request):
    return request.param


@pytest.fixture(scope="module", params=isolating.EITHER)
def confined(request, limits):
    found = ordinary.attempt(f"{request.param}-{limits}")
    if "skipped" in found:
        pytest.skip(found["skipped"])
    return found


@pytest.fixture(scope="module")
def control():
    """What worked without a sandbox, for an ordinary user or for root."""
    found = ordinary.attempt("unconfined")["worked"]
    as_root = ordinary.attempt_as_root()["worked"]
    return {name: did or as_root.get(name, False) for name, did in found.items()}


def test_no_attack_works_from_inside(confined):
    assert confined["user"] != 0
    assert len(confined["worked"]) > 60
    assert {name for name, did in confined["worked"].items() if did} == set()


def test_an_honest_job_passes_throughout(confined):
    assert len(confined["honest"]) >= 5
    assert set(confined["honest"]) == {"passed"}


def test_every_attack_is_one_where_nothing_confines_it(control):
    failed = {name for name, did in control.items() if not did}

    assert failed <= DEPENDS_ON_THE_KERNEL | (FOR_ROOT_ONLY if os.geteuid() else set())
