"""What a vendor does alone: a job begun, tested and run on a twin, without anybody's data."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from deploy.vendor.bench import Bench
from deploy.vendor.cli import job, twin
from deploy.vendor.shapes import SHIPPED, Broken, load_shape
from deploy.vendor.twin import make_twin
from gateway.errors import ConfigurationFault
from protos import bundle, job_manifest

pytestmark = pytest.mark.flow
SOUND_CT = """
[[series]]
modality = "CT"
share = 1.0
manufacturers = ["SIEMENS", "UIH"]
body_parts = ["CHEST"]
matrix = 256
field_mm = 360.0
thickness_mm = [5.0]
slices = [1, 2]
noise = 20.0
[broken]
share = 0.05
ways = ["no_position", "empty_file"]
"""


def typed(app, *words, expect=0):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == expect, (done.stdout, done.stderr, done.exception)
    return done


def a_twin_of(patients, folder, *more, shape=SOUND_CT):
    (folder / "shape.toml").write_text(shape)
    words = (
        "make",
        folder / "twin",
        "--shape",
        folder / "shape.toml",
        "--patients",
        patients,
        *more,
    )
    made = json.loads(typed(twin, *words, "--json").stdout)
    assert made["patients"] == patients
    return folder / "twin"


@pytest.fixture(scope="module")
def a_twin(tmp_path_factory):
    return a_twin_of(70, tmp_path_factory.mktemp("twin"))  # 10 + 10 are held out


@pytest.fixture(scope="module")
def a_drawn_twin(tmp_path_factory):
    finer = SOUND_CT.replace("matrix = 256", "matrix = 512")
    return a_twin_of(40, tmp_path_factory.mktemp("drawn"), "--drawn", shape=finer)


@pytest.fixture(scope="module")
def a_small_twin(tmp_path_factory):
    return a_twin_of(10, tmp_path_factory.mktemp("small"))


def begun(kind, folder, monkeypatch):
    monkeypatch.chdir(folder)
    typed(job, "init", "--kind", kind, "my-job")
    return folder / "my-job"


def checked(directory, a_twin, *more, expect=0):
    done = typed(job, "check", directory, "--twin", a_twin, "--json", *more, expect=expect)
    return json.loads(done.stdout)


def bytes_below(directory):
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def test_a_twin_is_the_same_for_its_seed_and_larger_ones_begin_alike(tmp_path):
    shape = load_shape()
    for name, patients, seed in (("a", 5, 7), ("b", 5, 7), ("more", 6, 7), ("other", 5, 8)):
        make_twin(tmp_path / name, shape, patients, seed, "lesion")
    for name in ("drawn", "again"):
        make_twin(tmp_path / name, shape, 5, 7, "lesion", drawn_too=True)

    drawn, again = (bytes_below(tmp_path / name) for name in ("drawn", "again"))
    assert drawn == again
    assert any(name.endswith("reference.dcm") for name in drawn)
    a, b, more, other = (bytes_below(tmp_path / name) for name in ("a", "b", "more", "other"))

    assert a == b
    images = {name for name in a if name.endswith(".dcm")}
    assert all(more[name] == a[name] for name in images)
    assert not any(other.get(name) == a[name] for name in images)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_a_twins_images_conform_as_far_as_a_validator_sees(tmp_path):
    shape = load_shape()
    sound = shape.model_copy(update={"broken": shape.broken.model_copy(update={"share": 0.0})})
    made = make_twin(tmp_path / "twin", sound, 30, 3, "lesion")
    firsts = {}
    for one in made.series:
        firsts.setdefault((one["modality"], *one["missing"]), one["patient"])

    assert {kind for kind, *_ in firsts} == {"CT", "MR", "DX"}
    for patient in firsts.values():
        file = tmp_path / "twin" / "images" / patient / "0001.dcm"
        done = subprocess.run(["dciodvfy", file], capture_output=True, text=True, check=False)
        said = (done.stdout + done.stderr).splitlines()
        assert [line for line in said if line.startswith("Error")] == []


@pytest.mark.parametrize("way", list(Broken))
def test_a_twin_has_studies_that_are_broken_in_every_way(tmp_path, way):
    shape = load_shape().only(["CT"])
    broken = shape.broken.model_copy(update={"share": 1.0, "ways": (way,)})
    kinds = (shape.series[0].model_copy(update={"slices": (3, 3)}),)
    shape = shape.model_copy(update={"series": kinds, "broken": broken})

    made = make_twin(tmp_path / "twin", shape, 1, 1, "lesion")

    assert made.series[0]["broken"] == way
    files = sorted((tmp_path / "twin" / "images" / "0001").iterdir())
    sound = 0
    for file in files:
        try:
            image = dcmread(file)
            assert image.pixel_array.shape == (64, 64)
            sound += "ImagePositionPatient" in image
        except Exception:  # noqa: BLE001 - whatever a reader of such a file raises
            continue
    assert sound == (0 if way is Broken.NO_POSITION else 2)


def test_a_twin_is_not_drawn_over_anything_nor_from_a_shape_that_cannot_be(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    (tmp_path / "shape.toml").write_text(SHIPPED.read_text().replace("matrix", "matirx"))
    (tmp_path / "none.toml").write_text(SOUND_CT.replace("share = 1.0", "share = 0.0"))

    assert "not an empty directory" in typed(twin, "make", tmp_path / "full", expect=4).stderr
    words = ("make", tmp_path / "new", "--shape")
    assert "matirx" in typed(twin, *words, tmp_path / "shape.toml", expect=4).stderr
    assert "missing" in typed(twin, *words, tmp_path / "absent.toml", expect=4).stderr
    with pytest.raises(ConfigurationFault, match="shares"):
        make_twin(tmp_path / "new", load_shape(tmp_path / "none.toml"), 1, 1, "lesion")


@pytest.mark.parametrize("kind", ["training", "evaluation", "analytics"])
def test_a_job_as_begun_runs_and_passes_the_gate(tmp_path, monkeypatch, a_twin, kind):
    directory = begun(kind, tmp_path, monkeypatch)

    found = checked(directory, a_twin)

    assert (found["ends"], found["code"], found["kind"]) == ("released", "", kind), found["log"]
    assert found["twin"]["cases"] + found["twin"]["held_out"] > 40
    assert found["would_leave"]["statistics"] is (kind != "analytics")
    assert (found["would_leave"]["update_bytes"] > 0) is (kind != "evaluation")
    if kind == "evaluation":
        assert found["would_leave"]["auc_on_twin"] > 0.9


@pytest.mark.parametrize(
    ("predictions", "figure"), [("boxes", "sensitivity_on_twin"), ("masks", "dice_on_twin")]
)
def test_a_test_of_places_as_begun_is_judged_by_the_twins_drawings(
    tmp_path, monkeypatch, a_drawn_twin, predictions, figure
):
    monkeypatch.chdir(tmp_path)
    typed(job, "init", "--kind", "evaluation", "--predictions", predictions, "my-job")

    found = checked(tmp_path / "my-job", a_drawn_twin)

    assert (found["ends"], found["code"]) == ("released", ""), found["log"]
    assert found["would_leave"][figure] > 0.5
    assert found["would_leave"]["statistics"]
    assert typed(job, "init", "--predictions", "boxes", "other", expect=4).stderr


def test_a_begun_jobs_own_tests_pass_alone(tmp_path, monkeypatch, a_small_twin):
    directory = begun("analytics", tmp_path, monkeypatch)
    monkeypatch.setenv("RADFED_TWIN", str(a_small_twin))

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=directory, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_a_twin_comes_in_by_the_hospitals_door_with_its_labels(tmp_path, monkeypatch, a_twin):
    raw = bundle.pack(begun("training", tmp_path, monkeypatch))

    bench = Bench(tmp_path, raw, a_twin)

    about = json.loads((a_twin / "twin.json").read_text())["series"]
    no_place = {one["patient"] for one in about if one["broken"] == "no_position"}
    assert bench.workspace.skipped.get("unusable", 0) <= len(no_place)
    assert all(case.label in (0, 1) for case in bench.cohort("training"))
    assert all(case.label is None for case in bench.cohort("validation"))
    files = list(bench.workspace.inside.rglob("*.dcm"))
    assert len(files) > 40
    for file in files:
        assert b"TWIN-" not in file.read_bytes()
        assert "PrivateInformation" not in dcmread(file, stop_before_pixels=True).file_meta


@pytest.mark.parametrize(
    ("code", "ends", "why"),
    [
        ("raise ValueError('Huber^Anna 110101199003078515')", "failed", "code_failed"),
        ("import torch", "failed", "import_missing"),
        ("bytearray(1 << 40)", "failed", "out_of_memory"),
        ("return {'other': weights['weight']}", "withheld", "schema_mismatch"),
        ("import numpy; return {n: w * numpy.nan for n, w in weights.items()}", "withheld",
         "not_finite"),
        ("return 3", "failed", "output_malformed"),
    ],
    ids=lambda text: text if text.isidentifier() else "job",
)  # fmt: skip
def test_a_round_that_fails_ends_with_a_code(tmp_path, monkeypatch, a_small_twin, code, ends, why):
    directory = begun("training", tmp_path, monkeypatch)
    (directory / "job.py").write_text(f"def train(cohort, weights, config):\n    {code}\n")

    found = checked(directory, a_small_twin, expect=8)

    assert (found["ends"], found["code"]) == (ends, why)
    assert "Huber" not in json.dumps({k: v for k, v in found.items() if k != "log"})


def test_a_cohort_of_nobody_is_refused_with_a_code(tmp_path, monkeypatch, a_small_twin):
    directory = begun("training", tmp_path, monkeypatch)
    toml = (directory / "job.toml").read_text()
    (directory / "job.toml").write_text(toml.replace('values = ["CT"]', 'values = ["MR"]'))

    found = checked(directory, a_small_twin, expect=8)

    assert (found["ends"], found["code"]) == ("refused", "cohort_too_small")


@pytest.mark.parametrize(
    ("wrong", "right", "says", "code"),
    [
        ("rounds", "ronds", "is it `rounds`", 4),
        ("[weights.weight]", "[weigths.weight]", "is it `weights`", 4),
        ("python-numpy", "torch-cpu", "--runtime torch-cpu=DIRECTORY", 3),
    ],
)
def test_a_manifest_that_cannot_be_run_says_why(
    tmp_path, monkeypatch, a_small_twin, wrong, right, says, code
):
    directory = begun("training", tmp_path, monkeypatch)
    toml = (directory / "job.toml").read_text()
    (directory / "job.toml").write_text(toml.replace(wrong, right, 1))

    refused = typed(job, "check", directory, "--twin", a_small_twin, expect=code)

    assert says in refused.stderr


def test_a_job_is_begun_once_and_by_a_plain_name(tmp_path, monkeypatch):
    begun("training", tmp_path, monkeypatch)

    assert "exists" in typed(job, "init", "my-job", expect=4).stderr
    assert "lower-case" in typed(job, "init", "../My Job", expect=4).stderr
    assert not list(Path().glob("*My*"))


def test_runtimes_are_listed_with_what_is_here(tmp_path):
    rows = json.loads(typed(job, "runtimes", "--runtime", f"torch-cpu={tmp_path}", "--json").stdout)

    here = {row["runtime"]: row["here"] for row in rows}
    assert here.keys() == job_manifest.RUNTIMES.keys()
    assert (here["python-numpy"], here["torch-cpu"]) == ("yes", str(tmp_path))
    assert here["flower"] == "no"
    assert "NAME one of" in typed(job, "runtimes", "--runtime", "cuda=/tmp", expect=4).stderr
