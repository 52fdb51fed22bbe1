"""Jobs of every form on a twin, in a hospital's sandbox and through its gate.

Forms that need packages run where `RADFED_RUNTIMES` names a directory of runtimes, each made by
`radfed job build-runtime NAME $RADFED_RUNTIMES/NAME`.
"""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.vendor.beginning import OTHERS, begin
from deploy.vendor.bench import Bench
from deploy.vendor.cli import job
from deploy.vendor.runtimes import RECIPES, build
from deploy.vendor.shapes import load_shape
from deploy.vendor.twin import make_twin
from gateway.errors import ConfigurationFault, EnvironmentFault
from gateway.sandbox.interpreter import discover
from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner
from protos import bundle, job_manifest

pytestmark = pytest.mark.flow
RUNTIMES = os.environ.get("RADFED_RUNTIMES", "")
SKLEARN = ("scikit-learn", "joblib", "threadpoolctl", "narwhals", "cloudpickle")
OLDER_APP = """
import numpy as np
from flwr.client import ClientApp, NumPyClient

class Client(NumPyClient):
    def fit(self, parameters, config):
        moved = [values + config["server-round"] * config["by"] for values in parameters]
        return moved, 12, {"train_loss": 0.5, "secret": 3.0}

app = ClientApp(client_fn=lambda context: Client().to_client())
"""
NEWER_APP = """
import os, socket
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.train()
def train(msg, context):
    {code}
"""


@pytest.fixture(scope="module")
def a_twin(tmp_path_factory):
    shape = load_shape().only(["CT"])
    kinds = (shape.series[0].model_copy(update={"slices": (2, 3)}),)
    folder = tmp_path_factory.mktemp("forms") / "twin"
    make_twin(folder, shape.model_copy(update={"series": kinds}), 16, 1, "lesion")
    return folder


def offered():
    """Return the runtimes of this machine; scikit-learn's are the packages of the tests."""
    found = {name: Path(RUNTIMES, name) for name in RECIPES if RUNTIMES}
    return {name: path for name, path in found.items() if path.is_dir()}


def runner_with(runtime, tmp_path):
    directories = offered()
    if runtime == "sklearn" and runtime not in directories:
        directories[runtime] = tmp_path / "sklearn"
        directories[runtime].mkdir()
        for package in discover(SKLEARN).packages:
            (directories[runtime] / package.name).symlink_to(package)
    if runtime != job_manifest.PLAIN_RUNTIME and runtime not in directories:
        pytest.skip(f"no runtime {runtime} here: RADFED_RUNTIMES names no directory with it")
    return Runner.on_this_machine(Limits(memory_bytes=3 << 30), offered=directories)


def begun(form, tmp_path):
    begin("my-job", OTHERS[form], tmp_path, form)
    return tmp_path / "my-job"


def ended(directory, a_twin, tmp_path, runtime):
    runner = runner_with(runtime, tmp_path)
    home = tmp_path / "bench"
    home.mkdir()
    return Bench(home, bundle.pack(directory), a_twin).dry_run(runner)


@pytest.mark.parametrize("form", OTHERS)
def test_a_job_of_every_form_runs_and_passes_the_gate(form, tmp_path, a_twin):
    directory = begun(form, tmp_path)
    manifest = bundle.manifest_of(bundle.pack(directory))

    found = ended(directory, a_twin, tmp_path, manifest.runtime)

    assert (found.ends, found.code) == ("released", ""), found.log
    assert found.leaves["update_bytes"] > 100


def an_app(tmp_path, code):
    """Return the Flower beginning with another ClientApp in its place."""
    directory = begun("flower", tmp_path)
    (directory / "lesions" / "client_app.py").write_text(code)
    (directory / "job.py").unlink()
    toml = (directory / "job.toml").read_text().replace("[config]", "[config]\nby = 0.25\n")
    before, _, after = toml.partition("[[metrics]]                 # a metric whose name begins")
    (directory / "job.toml").write_text(before + "[resources]" + after.partition("[resources]")[2])
    return directory


def test_an_app_of_flowers_older_form_runs_as_well(tmp_path, a_twin):
    found = ended(an_app(tmp_path, OLDER_APP), a_twin, tmp_path, "flower")

    assert (found.ends, found.code) == ("released", ""), found.log
    assert found.leaves["metrics"] == {}  # of fewer than ten patients none leaves


@pytest.mark.parametrize(
    ("code", "ends", "why"),
    [
        ("raise ValueError(str(context.node_config))", "failed", "code_failed"),
        ("import xgboost", "failed", "import_missing"),
        ("return 3", "failed", "output_malformed"),
        ("return Message(RecordDict({}), reply_to=msg)", "failed", "output_malformed"),
        (("m = msg.content['arrays'].to_numpy_ndarrays()\n    "
         "return Message(RecordDict({'a': ArrayRecord(m[:1])}), reply_to=msg)"),
         "withheld", "schema_mismatch"),
        (("m = [v * float('nan') for v in msg.content['arrays'].to_numpy_ndarrays()]\n    "
         "return Message(RecordDict({'a': ArrayRecord(m)}), reply_to=msg)"),
         "withheld", "not_finite"),
        (("assert os.environ['FLWR_TELEMETRY_ENABLED'] == '0'\n    "
         "assert list(context.node_config.values())[1:] == [0, 1]\n    "
         "assert (context.node_id, context.run_id) == (0, 0)\n    "
         "socket.create_connection(('127.0.0.1', 80), 2)"), "failed", "code_failed"),
    ],
    ids=["raises", "imports", "no message", "no arrays", "too few", "nan", "dials"],
)  # fmt: skip
def test_what_an_app_does_wrong_ends_with_a_code(tmp_path, a_twin, code, ends, why):
    app = an_app(tmp_path, NEWER_APP.format(code=code))

    found = ended(app, a_twin, tmp_path, "flower")

    assert (found.ends, found.code) == (ends, why), found.log
    if "socket" in code:
        assert "create_connection" in " ".join(found.log)  # so far it came, and no further


def test_a_form_says_which_kind_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    typed = CliRunner().invoke(job, ["init", "--form", "moments", "my-means", "--json"])
    wrong = CliRunner().invoke(job, ["init", "--form", "glm", "--kind", "analytics", "x"])
    unknown = CliRunner().invoke(job, ["init", "--form", "keras", "x"])

    assert typed.exit_code == 0
    assert json.loads(typed.stdout)["next"] == "radfed job check my-means"
    assert (wrong.exit_code, unknown.exit_code) == (2, 2)


def test_a_runtime_is_whole_or_not_there(tmp_path):
    nothing = tmp_path / "wheels"
    nothing.mkdir()

    with pytest.raises(EnvironmentFault, match="--with"):
        build("flower", tmp_path / "flower", (), nothing)
    with pytest.raises(ConfigurationFault, match="not of this runtime"):
        build("flower", tmp_path / "flower", ("torch==2.0",), nothing)
    with pytest.raises(ConfigurationFault, match="no recipe"):
        build("python-numpy", tmp_path / "plain")
    with pytest.raises(ConfigurationFault, match="exists"):
        build("flower", nothing)
    assert not (tmp_path / "flower").exists()
