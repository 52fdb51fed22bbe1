"""What a job may import: its bundle's wheels, and a runtime's packages; nothing is built."""

import importlib.util
import io
import platform
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.sandbox.rules import FailureCode, Limits
from gateway.sandbox.runner import Finished, Runner
from tests.fakes import vendor

pytestmark = pytest.mark.flow
USES_TINYLIB = """
def predict(cohort, weights, config):
    import tinylib
    return {"answer": tinylib.ANSWER}
"""


@pytest.fixture(scope="module")
def runner():
    return Runner.on_this_machine(Limits(memory_bytes=512 << 20))


def a_wheel(**members):
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as wheel:
        for name, text in members.items():
            wheel.writestr(name, text)
    return raw.getvalue()


def a_job(tmp_path, wheel, name="tinylib-1.0-py3-none-any.whl", pinned=None, code=USES_TINYLIB):
    folder = vendor.a_bundle(tmp_path / "bundle", code)
    (folder / "wheels").mkdir()
    (folder / "wheels" / name).write_bytes(wheel)
    pinned = pinned or sha256(wheel).hexdigest()
    (folder / "requirements.txt").write_text(f"tinylib==1.0 --hash=sha256:{pinned}\n")
    return folder


def outcome(runner, tmp_path, folder, **options):
    from threading import Event

    cohort = vendor.a_cohort_of_nobody(tmp_path / "cohort")
    return runner.run(folder, cohort, None, {}, 20.0, Event(), **options)


def test_a_bundles_wheel_is_unpacked_inside_and_imported(runner, tmp_path):
    wheel = a_wheel(
        **{
            "tinylib/__init__.py": "from tinylib.other import ANSWER",
            "tinylib-1.0.data/purelib/tinylib/other.py": "ANSWER = 0.75",
            "tinylib-1.0.data/scripts/tiny": "#!/bin/sh",
        }
    )

    ended = outcome(runner, tmp_path, a_job(tmp_path, wheel))

    assert isinstance(ended, Finished), ended.log
    assert ended.outputs["predictions.csv"] == b"case,score\nanswer,0.75\n"


def test_a_wheel_with_machine_code_is_loaded(runner, tmp_path):
    speedups = importlib.util.find_spec("markupsafe._speedups")
    if speedups is None or not speedups.origin.endswith(".so"):
        pytest.skip("markupsafe has no machine code here")
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as wheel:
        wheel.writestr("markupsafe/__init__.py", "")
        wheel.write(speedups.origin, f"markupsafe/{Path(speedups.origin).name}")
    here = f"cp3{sys.version_info.minor}"
    name = f"markupsafe-1.0-{here}-{here}-manylinux_2_17_{platform.machine()}.whl"
    code = """
        def predict(cohort, weights, config):
            import markupsafe._speedups
            return {markupsafe._speedups.__name__: 1.0}
    """

    ended = outcome(runner, tmp_path, a_job(tmp_path, raw.getvalue(), name, code=code))

    assert isinstance(ended, Finished), ended.log


@pytest.mark.parametrize(
    "wrong",
    [
        {"pinned": "0" * 64},
        {"name": "tinylib-1.0-cp27-cp27m-any.whl"},
        {"name": "tinylib-1.0-py3-none-win_amd64.whl"},
    ],
    ids=["hash", "python", "platform"],
)
def test_a_wheel_that_is_not_the_pinned_one_or_not_for_here_is_not_imported(
    runner, tmp_path, wrong
):
    wheel = a_wheel(**{"tinylib/__init__.py": "ANSWER = 0.75"})

    ended = outcome(runner, tmp_path, a_job(tmp_path, wheel, **wrong))

    assert ended.code is FailureCode.IMPORT_MISSING


@pytest.mark.parametrize("name", ["../../../tmp/radfed_job.py", "/job/out/predictions.csv"])
def test_a_wheel_that_names_a_place_outside_is_refused(runner, tmp_path, name):
    wheel = a_wheel(**{"tinylib/__init__.py": "ANSWER = 0.75", name: "evil"})

    ended = outcome(runner, tmp_path, a_job(tmp_path, wheel))

    assert ended.code is FailureCode.IMPORT_MISSING


def test_a_bomb_of_a_wheel_fills_nothing_but_its_own_tmp(runner, tmp_path):
    raw = io.BytesIO()
    with (
        zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as bomb,
        bomb.open("tinylib/zeros", "w") as member,
    ):
        for _ in range(400):
            member.write(bytes(1 << 20))

    ended = outcome(runner, tmp_path, a_job(tmp_path, raw.getvalue()))

    assert ended.code in (FailureCode.OUTPUT_LIMIT, FailureCode.OUT_OF_MEMORY)


def test_a_runtime_the_hospital_offers_brings_its_packages(tmp_path):
    packages = tmp_path / "torch-cpu"
    (packages / "tinylib").mkdir(parents=True)
    (packages / "tinylib" / "__init__.py").write_text("import numpy\nANSWER = 0.5")
    limits = Limits(memory_bytes=512 << 20)
    runner = Runner.on_this_machine(limits, offered={"torch-cpu": packages})
    folder = vendor.a_bundle(tmp_path / "bundle", USES_TINYLIB)

    inside = outcome(runner, tmp_path, folder, runtime="torch-cpu")
    (tmp_path / "again").mkdir()
    outside = outcome(runner, tmp_path / "again", folder)

    assert runner.runtimes == {"python-numpy", "torch-cpu"}
    assert isinstance(inside, Finished), inside.log
    assert outside.code is FailureCode.IMPORT_MISSING


BAD_CASES = """
def predict(cohort, weights, config):
    return {case.name: 0.9 for case, volume in cohort.volumes()}
"""


@pytest.mark.parametrize(("allowed", "ends"), [(0.5, "finished"), (0.2, "too_many_bad_cases")])
def test_cases_that_cannot_be_read_are_undecided_up_to_the_share(runner, tmp_path, allowed, ends):
    import json
    import shutil
    from threading import Event

    from pydicom.data import get_testdata_file

    from gateway.sandbox.workspace import Workspace

    inside = tmp_path / "cohort" / "inside"
    inside.mkdir(parents=True)
    shutil.copy(get_testdata_file("CT_small.dcm"), inside / "good.dcm")
    (inside / "bad.dcm").write_bytes((inside / "good.dcm").read_bytes()[:5000])
    cases = [{"case": n, "patient": n, "files": [f"{n}.dcm"]} for n in ("good", "bad")]
    (inside / "cohort.json").write_text(json.dumps({"training": [], "validation": cases}))
    workspace = Workspace(tmp_path / "cohort", "", 0, 0, {})
    folder = vendor.a_bundle(tmp_path / "bundle", BAD_CASES)

    config = {"bad_cases_at_most": allowed}
    ended = runner.run(folder, workspace, None, config, 20.0, Event())

    if ends == "finished":
        assert isinstance(ended, Finished), ended.log
        scores = ended.outputs["predictions.csv"].decode().split()[1:]
        assert sorted(scores) == ["bad,0.5", "good,0.9"]
    else:
        assert ended.code == ends
