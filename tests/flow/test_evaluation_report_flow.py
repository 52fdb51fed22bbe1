"""A vendor's product is tested at real hospitals; its report is fetched, checked and altered."""

import asyncio
import json
import shutil
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from coordinator.api.client import Federation as Client
from coordinator.cli import job
from coordinator.link.record import frames
from gateway.policy import Jobs, Policy, StandingRule, Tests, Vendor
from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner
from protos import bundle, tensors
from protos.v1.federation_pb2 import SubmitJobRequest
from tests.fakes.brightness import JOB_PY, SCHEMA, Signer
from tests.fakes.drawn import draw, square
from tests.fakes.federation import a_federation
from tests.fakes.hospital import Hospital
from tests.flow.test_link_federation import running

pytestmark = pytest.mark.flow
JOB_TOML = """
name = "squares"
kind = "evaluation"
purpose = "Test a finder of bright squares."
label = "nodule"
cohort = [{ field = "Modality", values = ["CT"] }]
weights.w = { shape = [2] }
resources = { wall_seconds = 60, memory_mb = 1024 }
"""
PROTOCOL = """
[protocol]
test_set = "squares-1"
reference = "Drawn so by the test."
threshold = 0.5
subgroups = ["PatientSex", "Manufacturer"]
"""
BOXES = (
    PROTOCOL.replace("squares-1", "squares-2")
    + """
predictions = "boxes"
endpoint = "froc"
hit = { by = "iou", at = 0.5 }
"""
)
BOXES_PY = """
import numpy as np

def predict(cohort, weights, config):
    return {case.name: boxes(volume) for case, volume in cohort.volumes()}

def boxes(volume):
    # How much the middle stands out: a threshold alone misses some, and marks some for nothing.
    middle = volume.values[0, 3:5, 3:5].mean() - np.median(volume.values)
    sure = 1 / (1 + np.exp(-(middle - 40) / 8))
    return [volume.box(sure, (0, 2, 2), (0, 5, 5))]
"""
CARELESS = BOXES_PY.replace("[volume.box(sure", "[] if middle % 3 < 1 else [volume.box(sure")
NOISY = JOB_PY.replace(
    "float(sigmoid(a * feature(case) + b))",
    "float(sigmoid(a * feature(case) + b + 3 * np.sin(int(case.name.rsplit('.')[-1])) ))",
)


def typed(*words):
    return CliRunner().invoke(job, [*words, "--json"], catch_exceptions=False)


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """Test a product at two hospitals of three; return where everything is and what was typed."""
    home = tmp_path_factory.mktemp("tested")
    signer = Signer(Ed25519PrivateKey.generate())
    sites, raws = hospitals(home, signer), bundles(home)
    said, operator = {}, str(home / "hub" / "operator")

    def live(federation, tokens):
        with ExitStack() as open_, Client(federation.credential) as client:
            links = [open_.enter_context(running(sites[s], s, t)) for s, t in tokens.items()]
            wait(lambda: all(link.is_connected for link in links))
            found = {name: submit(client, raw, signer) for name, raw in raws.items()}
            out = ("--out", str(home / "out"), "--as", operator)
            said["early"] = typed("report", found["tested"], *out)
            stages = ("finished", "failed", "stopped")
            wait(lambda: all(client.job(j).job.stage in stages for j in found.values()), 90)
            said["plain"] = typed("report", found["plain"], *out)
            said["fetched"] = typed("report", found["tested"], *out)
            elsewhere = ("--out", str(home / "boxes"), "--as", operator)
            said["boxes"] = typed("report", found["boxes"], *elsewhere)
            beside = submit(
                client, a_bundle(home, "beside", after(raws["boxes"]), CARELESS), signer
            )
            wait(lambda: client.job(beside).job.stage in stages, 90)
            out = ("--out", str(home / "beside"), "--as", operator)
            said["beside"] = typed("report", beside, *out)

    async def story():
        extra = f'[record]\ndirectory = "{home / "recording"}"\n'
        async with a_federation(home / "hub", extra) as federation:
            tokens = {name: await federation.invited(name) for name in sites}
            await asyncio.to_thread(live, federation, tokens)

    asyncio.run(story())
    return home, sites, said


def hospitals(home, signer):
    runner = Runner.on_this_machine(Limits(memory_bytes=2 << 30))
    jobs = Jobs(
        vendors=(Vendor(name="acme", public_key=signer.public.hex()),),
        standing=(StandingRule(vendor="acme", max_leakage_bits=50_000),),
    )
    # Of the evaluation without a protocol the hospital that may train has figures, the others not.
    rules = {name: Tests(test_hospital_for={"nodule"}) for name in ("ankang", "beihai")}
    found = {
        name: Hospital(home / name, runner, Policy(jobs=jobs, tests=tests), name)
        for name, tests in (rules | {"chengde": Tests()}).items()
    }
    for hospital in found.values():
        hospital.now = datetime.now(UTC)
        hospital.admit_images(50)
        for number in range(1, 50, 2):
            draw(hospital, number, square())
    return found


def bundles(home):
    texts = {"plain": JOB_TOML, "tested": JOB_TOML + PROTOCOL, "boxes": JOB_TOML + BOXES}
    return {
        name: a_bundle(home, name, text, BOXES_PY if name == "boxes" else NOISY)
        for name, text in texts.items()
    }


def a_bundle(home, name, text, code):
    folder = home / f"bundle-{name}"
    folder.mkdir()
    (folder / "job.toml").write_text(text)
    (folder / "job.py").write_text(code)
    return bundle.pack(folder)


def after(first):
    """Return the manifest of a product that is compared with one tested before."""
    return f'{JOB_TOML}{BOXES}compare_with = "{bundle.digest(first).hex()}"\n'


def submit(client, raw, signer):
    weights = tensors.encode({"w": np.array([1.0, 0.0])}, SCHEMA)
    client.upload(raw)
    return client.submit(
        SubmitJobRequest(
            bundle_digest=bundle.digest(raw),
            vendor_key=signer.public,
            vendor_signature=bundle.sign(raw, signer.key),
            initial_weights_digest=client.upload(weights),
        )
    )


def test_a_report_comes_when_a_tested_job_is_over(tested):
    home, _, said = tested

    assert said["early"].exit_code == 2
    assert "not over" in said["early"].output
    assert "no protocol" in said["plain"].output
    assert said["fetched"].exit_code == 0, said["fetched"].output
    facts = json.loads(said["fetched"].stdout)
    assert (facts["hospitals"], facts["patients"]) == ("2 of 3", 100)
    names = ["report.html", "report.json", "report.schema.json", "report.sig.json"]
    assert sorted(each.name for each in (home / "out").iterdir()) == names
    report = json.loads((home / "out" / "report.json").read_bytes())
    assert report["flow"]["not_reporting"] == {"refused: not_a_test_hospital": 1}
    assert {one["bin"] for one in report["subgroups"]} == {"F", "GE"}
    assert 0.6 < report["pooled"]["auc"]["value"] < 1


def test_a_test_of_boxes_is_reported_the_same_way(tested):
    home, _, said = tested

    assert said["boxes"].exit_code == 0, said["boxes"].output
    facts = json.loads(said["boxes"].stdout)
    assert (facts["hospitals"], facts["patients"]) == ("2 of 3", 100)
    report = json.loads((home / "boxes" / "report.json").read_bytes())
    found = report["detection"]
    assert (found["lesions"], found["positives"], report["pooled"]) == (50, 50, None)
    assert float(facts["froc"]) == pytest.approx(found["mean_sensitivity"], abs=1e-3)
    assert 0.8 < found["at_threshold"]["sensitivity"] <= 1.0
    assert found["at_threshold"]["low"] < found["at_threshold"]["sensitivity"]
    assert "FROC curve" in (home / "boxes" / "report.html").read_text()
    assert typed("verify", str(home / "boxes" / "report.json")).exit_code == 0


def test_a_second_finder_is_compared_with_the_first(tested):
    home, _, said = tested

    assert said["beside"].exit_code == 0, said["beside"].output
    report = json.loads((home / "beside" / "report.json").read_bytes())
    compared = report["comparison"]
    assert compared["hospitals"] == ["ankang", "beihai"]
    assert (compared["positives"], compared["negatives"]) == (50, 50)
    boxes = compared["boxes"]
    assert boxes["found"]["first_alone"] == 0
    assert boxes["found"]["second_alone"] > 5
    assert boxes["sensitivity"]["low"] < boxes["sensitivity"]["difference"] < 0
    assert boxes["sensitivity"]["p"] < 0.05
    facts = json.loads(said["beside"].stdout)
    assert facts["compared_with"] == compared["other_bundle"]
    words = facts["compared"]["difference (Obuchowski 1998)"]
    assert f"{boxes['sensitivity']['difference']:.3f}" in words
    assert "Yang 2010" in (home / "beside" / "report.html").read_text()
    assert typed("verify", str(home / "beside" / "report.json")).exit_code == 0


def test_it_holds_until_it_is_touched(tested, tmp_path):
    home, sites, _ = tested
    folder = Path(shutil.copytree(home / "out", tmp_path / "copy"))
    file = str(folder / "report.json")
    key = sites["ankang"].sets.public_key.hex()

    known = typed("verify", file, "--key", f"ankang={key}")

    assert known.exit_code == 0, known.output
    assert json.loads(known.stdout)["keys_compared"] == ["ankang"]
    assert typed("verify", file, "--key", f"ankang={'0' * 64}").exit_code == 9
    assert typed("verify", file, "--key", "ankang").exit_code == 2
    text = (folder / "report.json").read_text()
    (folder / "report.json").write_text(text.replace('"reviews": 0', '"reviews": 2'))
    altered = typed("verify", file)
    assert altered.exit_code == 9
    assert "altered" in json.loads(altered.stdout)["error"]


def test_what_left_the_hospitals_is_in_their_ledgers(tested):
    home, sites, _ = tested

    for name, hospital in sites.items():
        received = [
            message
            for role in ("invitation", "gateway")
            for _, message in frames(home / "recording" / f"{role}.{name}.bin")
        ]
        kept = [hospital.ledger.payload(entry) for entry in hospital.ledger.entries()]
        assert sorted(kept) == sorted(received)


def wait(claim, seconds=20.0):
    deadline = monotonic() + seconds
    while not claim():
        assert monotonic() < deadline, "waited in vain"
        sleep(0.1)
