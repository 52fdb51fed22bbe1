import asyncio
import json
import shutil
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import pytest

from gateway.app import backup
from gateway.app.build import build_audit
from gateway.app.outbound import build_locked_sets, build_notary, build_privacy
from gateway.cohort.exact import Exact, ExactTables
from gateway.cohort.privacy import Exhausted, Price
from gateway.cohort.rules import Canonical, Unit
from gateway.cohort.suppression import Unsafe
from gateway.config import load
from gateway.policy import Policy, Tests
from gateway.release.bits import BitsLedger, Charge
from gateway.store.index import Index
from gateway.store.tally import Tally
from protos.job_manifest import parse_manifest
from protos.v1.link_pb2 import CheckpointExchange
from tests.fakes.federation import a_federation
from tests.fakes.running_gateway import Gateway
from tests.fakes.study import ct_slices

pytestmark = pytest.mark.flow
A_TEST = """
name = "squares"
kind = "evaluation"
purpose = "Test."
label = "nodule"
cohort = [{ field = "Modality", values = ["CT"] }]
weights.w = { shape = [2] }
[protocol]
test_set = "squares"
reference = "Drawn so."
threshold = 0.5
"""
PRICE = Price(Fraction(1, 10), Fraction(1), Fraction(1))


@pytest.fixture
def gateway(tmp_path):
    (tmp_path / "house").mkdir()
    return Gateway(tmp_path / "house")


def ask(config, question):
    privacy = build_privacy(config)
    try:
        return privacy.answer(question * 32, "anna", PRICE, Fraction(3), lambda: {(): 100})
    finally:
        privacy.close()


async def exchange(config, federation):
    notary = build_notary(config, "demo")
    for _ in range(2):
        said = CheckpointExchange.FromString(notary.statement().SerializeToString())
        notary.hear(await federation.coordinator.rooms.notary.hear("tongji", said))


def lose(gateway):
    shutil.rmtree(gateway.state)
    gateway.settings.unlink()


def test_a_backup_of_a_running_gateway_brings_everything_back_but_the_budget(gateway, tmp_path):
    with gateway.running():
        gateway.take(*ct_slices())
        made = gateway.json("backup", tmp_path / "backup")
        again = gateway.json("backup", tmp_path / "backup")  # beside the first
        before = gateway.json("status")
    secret = (gateway.state / "keys" / "site.secret").read_bytes()
    held = b"".join(p.read_bytes() for p in (tmp_path / "backup").rglob("*") if p.is_file())
    assert secret not in held
    assert b"Featherstone" not in held
    assert again["backup"] != made["backup"]
    verified = gateway.json("restore", tmp_path / "backup", "--verify")
    assert verified["files"] == again["files"] > 10
    lose(gateway)

    code = ("--recovery-code-file", gateway.home / "code")
    gateway.json("restore", tmp_path / "backup", *code)

    after = gateway.json("status")
    assert after["stored"] == before["stored"]
    assert after["stored"]["instances"] == 3
    assert (gateway.state / "keys" / "site.secret").read_bytes() == secret
    assert "not reconciled" in after["privacy_ledger"]
    assert gateway.json("audit", "ls")[-1]["event"] == "restored"
    assert gateway.json("ledger", "verify")["entries"] == 0
    with gateway.running():
        gateway.take(*ct_slices(study="1.2.840.60.2", series="1.2.840.61.2"))
    assert gateway.json("status")["stored"]["instances"] == 6


def test_what_was_spent_after_the_backup_is_not_refunded(gateway, tmp_path):
    async def story():
        async with a_federation(tmp_path / "hub") as federation:
            config = load(gateway.settings)
            ask(config, b"1")
            await exchange(config, federation)
            gateway("backup", tmp_path / "backup")
            for question in (b"2", b"3"):
                ask(config, question)
            await exchange(config, federation)
            await asyncio.sleep(1.1)  # checkpoints are signed to the second
            lose(gateway)
            gateway("restore", tmp_path / "backup", "--recovery-code-file", gateway.home / "code")

            assert ask(config, b"4") == Exhausted("ledger_unreconciled")
            await exchange(config, federation)

            assert not isinstance(ask(config, b"4"), Exhausted)
            assert build_privacy(config).spent(build_privacy(config).year) == 4 * PRICE.rho

    asyncio.run(story())

    assert gateway.json("status")["privacy_ledger"] == "in force"
    events = [event["event"] for event in gateway.json("audit", "ls")]
    assert "ledger_reconciled" in events


def carry(config, name, bits, vendor="acme"):
    with closing(BitsLedger.open(config.bits_file)) as ledger:
        return ledger.charge(Charge(name, vendor, "nodule/1", bits), 10_000.0)


def look(config, name):
    """Take a look of a product as a round does; return the refusal's word, or what is left."""
    manifest = parse_manifest(A_TEST)
    policy = Policy(tests=Tests(test_hospital_for={"nodule"}, looks_per_product=3))
    with (
        closing(build_audit(config)) as audit,
        closing(build_locked_sets(config, lambda: policy, audit)) as sets,
    ):
        refusal = sets.judge(name, "acme", manifest)
        if refusal is not None:
            return refusal.rule
        sets.unlock(name, "acme", manifest, b"b" * 32)
        return sets.count(name, "acme", manifest)[1]


def train(config, label):
    with (
        closing(build_audit(config)) as audit,
        closing(build_locked_sets(config, Policy, audit)) as sets,
    ):
        manifest = parse_manifest(
            A_TEST.partition("[protocol]")[0].replace("evaluation", "training")
        )
        sets.unlock("t", "acme", manifest.model_copy(update={"label": label}), b"b" * 32)


def test_bits_and_looks_of_after_the_backup_are_not_given_back(gateway, tmp_path):
    async def story():
        async with a_federation(tmp_path / "hub") as federation:
            config = load(gateway.settings)
            assert carry(config, "one", 1000.0)
            assert look(config, "look 1") == 2
            await exchange(config, federation)
            gateway("backup", tmp_path / "backup")
            assert carry(config, "two", 2500.5)
            assert look(config, "look 2") == 1
            await exchange(config, federation)
            await asyncio.sleep(1.1)  # checkpoints are signed to the second
            lose(gateway)
            gateway("restore", tmp_path / "backup", "--recovery-code-file", gateway.home / "code")

            assert not carry(config, "three", 1.0)  # before it is known what was
            assert look(config, "look 3") == "ledger_unreconciled"
            assert "not reconciled" in gateway.json("status")["privacy_ledger"]
            await exchange(config, federation)

            assert not carry(config, "four", 6500.0)  # 3500.5 are spent, by whomever
            assert carry(config, "five", 6499.0)
            assert not carry(config, "six", 7500.0, vendor="other")
            assert look(config, "look 3") == 0
            assert look(config, "look 4") == "looks_exhausted"
            await exchange(config, federation)  # once, not at every exchange
            assert look(config, "look 5") == "looks_exhausted"

    asyncio.run(story())

    (event,) = [e for e in gateway.json("audit", "ls") if e["event"] == "spending_reconciled"]
    assert event["facts"]["milli_bits"] == 2_500_500
    assert (event["facts"]["looks"], event["facts"]["trained"]) == (1, 0)
    looks = gateway.json("looks")["looks"]
    assert [one["product"] for one in looks].count("(lost with a backup)") == 1
    accounts = {row["vendor"]: row["bits"] for row in gateway.json("ledger", "bits")}
    assert accounts["(lost with a backup)"] == 2500.5


def test_a_label_trained_on_after_the_backup_bars_external_tests_until_it_is_named(
    gateway, tmp_path
):
    async def story():
        async with a_federation(tmp_path / "hub") as federation:
            config = load(gateway.settings)
            gateway("backup", tmp_path / "backup")
            train(config, "fracture")
            await exchange(config, federation)
            await asyncio.sleep(1.1)
            lose(gateway)
            gateway("restore", tmp_path / "backup", "--recovery-code-file", gateway.home / "code")
            await exchange(config, federation)

            assert look(config, "look 1") == "trained_here"
            gateway.json("reconcile", "--trained", "fracture", "--by", "li")
            await exchange(config, federation)

            assert look(config, "look 1") == 2

    asyncio.run(story())


def test_a_checkpoint_that_does_not_tell_bits_leaves_them_waiting_for_a_word(gateway, tmp_path):
    async def story():
        async with a_federation(tmp_path / "hub") as federation:
            config = load(gateway.settings)
            gateway("backup", tmp_path / "backup")
            notary = build_notary(config, "demo")
            notary._spending = None  # as the version before signed
            said = CheckpointExchange.FromString(notary.statement().SerializeToString())
            notary.hear(await federation.coordinator.rooms.notary.hear("tongji", said))
            await asyncio.sleep(1.1)
            lose(gateway)
            gateway("restore", tmp_path / "backup", "--recovery-code-file", gateway.home / "code")
            await exchange(config, federation)

            assert not isinstance(ask(config, b"1"), Exhausted)
            assert not carry(config, "one", 1.0)
            words = ("--bits", "9000", "--looks", "2", "--trained", "none", "--by", "li")
            told = gateway.json("reconcile", *words)
            assert (told["charged_bits"], told["burnt_looks"]) == (9000.0, 2)
            assert not carry(config, "two", 1001.0)
            assert carry(config, "three", 999.0)
            assert look(config, "look 1") == 0

    asyncio.run(story())


def test_exact_tables_are_not_given_anew_in_the_quarter_of_a_restore(gateway, tmp_path):
    config = load(gateway.settings)
    gateway("backup", tmp_path / "backup")
    lose(gateway)
    gateway("restore", tmp_path / "backup", "--recovery-code-file", gateway.home / "code")
    with closing(build_privacy(config)) as privacy:
        epoch = privacy.epoch
    with closing(Index.open(config.index_file)) as index:
        tables = ExactTables.open(config.exact_file, Tally(index))
        asked = Canonical(Unit.PATIENTS, (), ())
        assert tables.answer(asked, epoch) == Unsafe("snapshot_outdated")
        assert isinstance(tables.answer(asked, "2099Q1"), Exact | Unsafe)


def test_without_a_coordinator_the_hospitals_word_is_taken(gateway, tmp_path):
    gateway("backup", tmp_path / "backup")
    lose(gateway)
    gateway("restore", tmp_path / "backup", "--recovery-code-file", gateway.home / "code")

    told = gateway.json("reconcile")
    assert (told["charged_rho"], told["burnt_looks"], told["labels_unknown"]) == (1.0, 3, 1)
    assert told["charged_bits"] == 1_000_000.0
    assert gateway.json("reconcile")["charged_rho"] == 0.0
    assert ask(load(gateway.settings), b"1") == Exhausted("site_budget")


def test_an_altered_or_missing_content_and_a_wrong_code_are_refused(gateway, tmp_path):
    made = gateway.json("backup", tmp_path / "backup")
    listed = json.loads(Path(made["backup"]).read_text())
    policy = next(each for each in listed["files"] if each["path"] == "policy.toml")
    content = tmp_path / "backup" / "objects" / policy["sha256"][:2] / policy["sha256"]
    wrong = tmp_path / "wrong"
    wrong.write_text("AAAA-BBBB")
    lose(gateway)

    gateway("restore", tmp_path / "backup", "--recovery-code-file", wrong, expect=9)
    assert not gateway.state.exists()
    content.write_bytes(b"[trust]\nreviewers = 0\n")
    gateway("restore", tmp_path / "backup", "--verify", expect=9)
    code = ("--recovery-code-file", gateway.home / "code")
    gateway("restore", tmp_path / "backup", *code, expect=9)
    content.unlink()
    gateway("restore", tmp_path / "backup", "--verify", expect=9)


def test_a_restore_that_was_stopped_goes_on_and_never_overwrites(gateway, tmp_path):
    made = gateway.json("backup", tmp_path / "backup")
    code = ("--recovery-code-file", gateway.home / "code")
    gateway("restore", tmp_path / "backup", *code, expect=4)  # it is not lost
    listed = json.loads(Path(made["backup"]).read_text())
    last = max(
        (each for each in listed["files"] if each["form"] == "file"), key=lambda each: each["path"]
    )
    content = tmp_path / "backup" / "objects" / last["sha256"][:2] / last["sha256"]
    lose(gateway)
    content.rename(tmp_path / "aside")
    gateway("restore", made["backup"], *code, expect=9)
    content.parent.mkdir(exist_ok=True)
    (tmp_path / "aside").rename(content)

    gateway("restore", made["backup"], *code)

    assert gateway.json("audit", "verify")["chain"] == "unbroken"
    gateway("restore", made["backup"], *code, expect=4)


def test_a_backup_into_the_gateway_itself_is_refused(gateway, tmp_path):
    gateway("backup", gateway.state / "backup", expect=4)
    gateway("restore", tmp_path, expect=2, stdin="")  # nobody can be asked for the code
    gateway("restore", tmp_path, "--verify", expect=4)


def test_what_is_half_written_or_made_again_is_left_out_and_key_versions_are_not(tmp_path):
    for name in ("store/.key-versions.json", "store/ab/.draft.17", "index.columns", "policy.toml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    assert set(backup._files(tmp_path)) == {"store/.key-versions.json", "policy.toml"}


def test_databases_are_saved_however_deep_they_lie(tmp_path):
    for name in ("bits.db", "desk/desk.db", "desk/tests/looks.db", "desk/jobs/1/own.db", "run/x.db",
                 "desk/tests/looks.db-wal"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")

    assert backup._databases(tmp_path) == ["bits.db", "desk/desk.db", "desk/tests/looks.db"]
