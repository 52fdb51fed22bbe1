"""A product is tested at hospitals whose counts nobody sees: real gateways, sums and reports."""

import asyncio
import json
from base64 import b64decode, b64encode
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator.api.client import Federation as Client
from coordinator.errors import IntegrityFault
from coordinator.evaluation.checking import check
from coordinator.link.record import frames
from gateway.policy import Tests
from gateway.sandbox.rules import Limits
from gateway.sandbox.runner import Runner
from protos import bundle
from protos.job_manifest import parse_manifest
from protos.reports import report_statement
from protos.statistics_vector import length
from protos.v1.job_pb2 import EvaluationStatistics
from tests.fakes.brightness import Signer
from tests.fakes.federation import a_federation
from tests.fakes.linked import running, wait
from tests.fakes.summing import acquainted
from tests.flow.test_evaluation_report_flow import JOB_TOML, NOISY, PROTOCOL, submit, typed

pytestmark = pytest.mark.flow
SITES = ("ankang", "beihai", "chengde")
PLAIN = JOB_TOML.replace('label = "nodule"', 'label = "nodule"\nrounds = 1') + PROTOCOL
SUMMED = 'sum = "secure"\n' + PLAIN.replace('name = "squares"', 'name = "squares-summed"')


def packed(home, name, text):
    folder = home / f"bundle-{name}"
    folder.mkdir()
    (folder / "job.toml").write_text(text)
    (folder / "job.py").write_text(NOISY)
    return bundle.pack(folder)


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """Test one product twice at the same three hospitals: plainly, and under masks."""
    home = tmp_path_factory.mktemp("summed")
    signer = Signer(Ed25519PrivateKey.generate())
    runner = Runner.on_this_machine(Limits(memory_bytes=2 << 30))
    sites = acquainted(home, runner, SITES, signer.public)
    rules = Tests(test_hospital_for={"nodule"})
    for number, hospital in enumerate(sites.values()):
        hospital.policy = hospital.policy.model_copy(update={"tests": rules})
        hospital.now = datetime.now(UTC)
        hospital.admit_images(30 + 10 * number)
    plain = packed(home, "plain", PLAIN)
    compared = SUMMED.replace(
        "[protocol]", f'[protocol]\ncompare_with = "{bundle.digest(plain).hex()}"'
    )
    summed, said = packed(home, "summed", compared), {}
    operator = str(home / "hub" / "operator")

    def live(federation, tokens):
        with ExitStack() as open_, Client(federation.credential) as client:
            links = [open_.enter_context(running(sites[s], s, t)) for s, t in tokens.items()]
            wait(lambda: all(link.is_connected for link in links))
            for name, raw in (("plain", plain), ("summed", summed)):
                job = submit(client, raw, signer)
                wait(lambda job=job: client.job(job).job.stage in ("finished", "failed"), 90)
                said[name] = client.job(job)
                said[f"{name}-report"] = typed(
                    "report", job, "--out", str(home / name), "--as", operator
                )

    async def story():
        extra = f'[record]\ndirectory = "{home / "recording"}"\n'
        async with a_federation(home / "hub", extra) as federation:
            tokens = {name: await federation.invited(name) for name in sites}
            await asyncio.to_thread(live, federation, tokens)

    asyncio.run(story())
    return home, sites, said


def report_of(home, name):
    return json.loads((home / name / "report.json").read_bytes())


def test_the_figures_are_those_of_the_plain_sum_to_the_bit(tested):
    home, _, said = tested

    assert said["plain-report"].exit_code == 0, said["plain-report"].output
    assert said["summed-report"].exit_code == 0, said["summed-report"].output
    plain, summed = report_of(home, "plain"), report_of(home, "summed")
    assert summed["pooled"] == plain["pooled"]
    assert summed["roc"] == plain["roc"]
    assert summed["flow"] == plain["flow"]
    for one, other in zip(summed["subgroups"], plain["subgroups"], strict=True):
        assert one["figures"] == other["figures"]
        assert (one["hospitals"], one["hospitals_counted"]) == ([], len(other["hospitals"]))
    assert summed["comparison"]["auc"]["difference"] == 0  # the same product beside itself
    assert summed["comparison"]["hospitals_counted"] == len(SITES)
    assert said["summed"].pooled[-1].auc == said["plain"].pooled[-1].auc > 0.6


def test_what_needs_one_hospitals_figures_is_said_to_be_missing(tested):
    home, _, said = tested
    report = report_of(home, "summed")

    assert report["secure_sum"] is True
    assert set(report["not_available"].values()) == {"not available: pooled by secure sum"}
    assert {"within_site", "forest_plot", "hospital_subgroup"} <= report["not_available"].keys()
    assert report["within_site"] is None
    assert {(s["outcome"], s["figures"], s["look"]) for s in report["sites"]} == {
        ("in the secure sum", None, 1)
    }
    page = (home / "summed" / "report.html").read_text()
    assert "not available: pooled by secure sum" in page
    assert not any(part.auc for part in said["summed"].rounds)
    assert "not_available" not in report_of(home, "plain")


def test_no_count_of_a_hospital_leaves_it(tested):
    home, sites, _ = tested
    protocol = parse_manifest((home / "bundle-summed" / "job.toml").read_text()).protocol
    parts = {p["site"]: p for p in report_of(home, "summed")["evidence"]["sites"]}

    for name, hospital in sites.items():
        received = [
            message
            for role in ("invitation", "gateway")
            for _, message in frames(home / "recording" / f"{role}.{name}.bin")
        ]
        entries = [e for e in hospital.ledger.entries() if e.kind != "summand"]
        assert sorted(map(hospital.ledger.payload, entries)) == sorted(received)
        kept = hospital.shelf.find(f"{parts[name]['task']}/summand")
        assert kept.size == 4 * length(protocol)
        row = hospital.shelf.chunk(kept, 0, kept.size)
        assert not any(row[:1600] in message for message in received)
        said = EvaluationStatistics.FromString(b64decode(parts[name]["statistics"]))
        assert not said.cells
        assert not said.HasField("comparison")
        # Charged as it would be alone: the plain test of the same product carried as much.
        bits = parts[name]["leakage_bits"]
        plain = {p["site"]: p for p in report_of(home, "plain")["evidence"]["sites"]}
        assert bits > plain[name]["leakage_bits"] > 0  # and the joint bins beside
        hospital.ledger.verify()
        hospital.audit.verify()


def test_verify_takes_the_masks_off_again(tested):
    home, sites, _ = tested
    file = str(home / "summed" / "report.json")
    key = sites["ankang"].sets.public_key.hex()

    found = typed("verify", file, "--key", f"ankang={key}")

    assert found.exit_code == 0, found.output
    facts = json.loads(found.stdout)
    assert facts["keys_compared"] == ["ankang"]
    assert set(facts["signed_by"]) == {*SITES, "coordinator"}
    assert facts["pooled_by"] == "secure sum of 3 hospitals"


def resealed(evidence_of, home):
    """Return the report with another evidence, signed anew as a lying coordinator would."""
    from coordinator.evaluation.document import Evidence
    from coordinator.evaluation.report import build

    key = Ed25519PrivateKey.generate()
    said = report_of(home, "summed")
    evidence_of(said["evidence"])
    try:
        raw = build(Evidence.model_validate(said["evidence"])).model_dump_json().encode()
    except (ValueError, LookupError):  # not even figures can be made of it
        raw = json.dumps(said).encode()
    signature = {
        "public_key": key.public_key().public_bytes_raw().hex(),
        "signature": key.sign(report_statement(raw)).hex(),
    }
    return raw, json.dumps(signature).encode()


def flipped(text):
    raw = bytearray(b64decode(text))
    raw[len(raw) // 2] ^= 1
    return b64encode(raw).decode()


def of_masked(evidence):
    evidence["sum"]["masked"]["beihai"] = flipped(evidence["sum"]["masked"]["beihai"])


def of_secret(evidence):
    evidence["sum"]["secrets"]["beihai"] = "ab" * 32


def of_roster(evidence):
    evidence["sum"]["roster"] = flipped(evidence["sum"]["roster"])


def of_transcript(evidence):
    evidence["sum"]["transcript"] = flipped(evidence["sum"]["transcript"])


def of_a_hospital_left_out(evidence):
    del evidence["sum"]["masked"]["beihai"]


def of_protocol(evidence):
    evidence["protocol_sha256"] = "0" * 64


def of_no_sum(evidence):
    del evidence["sum"]


def of_product(evidence):
    evidence["bundle"] = "0" * 64


@pytest.mark.parametrize(
    "change",
    [of_masked, of_secret, of_roster, of_transcript, of_a_hospital_left_out, of_protocol,
     of_no_sum, of_product],
)  # fmt: skip
def test_a_coordinator_that_signs_another_sum_is_found_out(tested, change):
    home, _, _ = tested
    check(*resealed(lambda _: None, home), {})  # as it is, it holds

    with pytest.raises(IntegrityFault):
        check(*resealed(change, home), {})
