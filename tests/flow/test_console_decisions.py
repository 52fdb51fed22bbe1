"""What is decided on the console's pages: by two stewards, about many entries, once."""

import shutil
import time
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.app import approving, steward
from gateway.app.build import build_objects, build_secret, build_vault
from gateway.audit import AuditTrail
from gateway.config import load
from gateway.desk.objects import Wanted
from gateway.model import Arrival, RealUID
from gateway.policy import load_policy
from gateway.vault.entry import Kept, Reason
from protos import bundle
from protos.v1 import job_pb2
from tests.fakes.brightness import Signer, a_bundle
from tests.fakes.console import a_console
from tests.fakes.running_gateway import Gateway

pytestmark = pytest.mark.flow
NASTY = "<script>alert(1)</script>\u202e"
BURNED, BROKEN = Reason("text is burned in " + NASTY), Reason("an element cannot be read")


@pytest.fixture
def config(tmp_path):
    gateway = Gateway(tmp_path)
    policy = gateway.state / "policy.toml"
    unsigned = policy.read_text().replace("signed_questions = true ", "signed_questions = false ")
    policy.write_text(unsigned.replace("reviewers = 2 ", "reviewers = 0 "))
    return load(gateway.settings)


def offer(config, tmp_path, job_id="job1"):
    """Put a vendor's job into the inbox, verified as the desk does."""
    signer = Signer(Ed25519PrivateKey.generate())
    steward.pin_vendor(config, f"acme-{job_id}", signer.public.hex(), "li")
    raw = a_bundle(tmp_path)
    wanted = Wanted(bundle.digest(raw), len(raw))
    objects = build_objects(config)
    if not objects.has(wanted.digest):
        objects.append(wanted, raw)
        objects.finish(wanted)
    offered = job_pb2.JobOffer(
        job_id=job_id,
        bundle_digest=wanted.digest,
        bundle_size=len(raw),
        vendor_key=signer.public,
        vendor_signature=bundle.sign(raw, signer.key),
        kind=job_pb2.JOB_KIND_TRAINING,
        rounds=3,
    )
    with approving._inbox(config) as inbox:
        inbox.offers.take(offered)
        inbox.offers.work()
        assert inbox.offers.approval(job_id).stage == "waiting"
    return wanted.digest.hex()


def keep(config, number, reason, sender):
    vault = build_vault(config, build_secret(config))
    writer = vault.writer()
    content = f"instance {number}".encode()
    writer.write(content)
    arrival = Arrival(
        calling_ae=sender,
        called_ae="RADFED",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=RealUID(f"1.2.3.{number}"),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
    )
    kept = Kept(arrival, datetime.now(UTC), f"{number:064x}", len(content), reason)
    return writer.commit(kept, quarantined=True)


def events(config, name):
    audit = AuditTrail.open(config.audit_file)
    try:
        return [event.facts for event in audit.events() if event.event == name]
    finally:
        audit.close()


def stage(config):
    return approving.approval(config, "job1", with_code=False)["stage"]


def test_two_stewards_agree_before_anything_runs(config, tmp_path):
    digest = offer(config, tmp_path)

    with a_console(config, two_person=True) as console:
        li, wang = console.somebody("li"), console.somebody("wang")
        for _ in range(2):  # twice is once
            first = li.post("/approvals/job1", act="approve", bundle=digest)
        assert "second steward" in first.text
        assert stage(config) == "waiting"
        assert "Agreed so far: li" in wang.get("/approvals/job1").text
        second = wang.post("/approvals/job1", act="approve", bundle=digest)

    assert "Decided by li + wang" in second.text
    assert stage(config) == "approved"
    (approved,) = events(config, "job_approved")
    assert approved["by"] == "li + wang"
    assert [facts["by"] for facts in events(config, "job_consented")] == ["li", "li", "wang"]


def test_a_page_of_another_bundle_decides_nothing(config, tmp_path):
    offer(config, tmp_path)

    with a_console(config) as console:
        answer = console.somebody().post("/approvals/job1", act="approve", bundle="0" * 64)

    assert answer.status == 409
    assert "another bundle" in answer.text
    assert stage(config) == "waiting"


def test_a_rejection_says_why_and_is_final(config, tmp_path):
    digest = offer(config, tmp_path)

    with a_console(config) as console:
        li, wang = console.somebody("li"), console.somebody("wang")
        assert li.post("/approvals/job1", act="reject", bundle=digest, reason=" ").status == 400
        assert stage(config) == "waiting"
        li.post("/approvals/job1", act="reject", bundle=digest, reason=f"not ours {NASTY}")
        late = wang.post("/approvals/job1", act="approve", bundle=digest)

    assert late.status == 409
    assert "Somebody was quicker" in late.text
    assert "Decided by li" in late.text
    assert "<script>alert" not in late.text
    assert stage(config) == "rejected"


def test_a_standing_rule_is_for_this_bundle_alone(config, tmp_path):
    digest = offer(config, tmp_path)

    with a_console(config) as console:
        console.somebody().post("/approvals/job1", act="always", bundle=digest)

    (rule,) = load_policy(config.policy_file).jobs.standing
    assert (rule.vendor, rule.bundle, rule.kind, rule.max_rounds) == (
        "acme-job1", digest, "training", 3,
    )  # fmt: skip
    assert events(config, "standing_rule_added") == [
        {"vendor": "acme-job1", "bundle": digest, "by": "li"}
    ]


def test_entries_are_released_by_rule_and_device(config):
    for number in range(3):
        keep(config, number, BURNED, "CT1")
    other = keep(config, 9, BROKEN, NASTY[:16])

    with a_console(config) as console:
        li = console.somebody()
        page = li.get("/quarantine")
        many = {"reason": BURNED.reason, "sender": "CT1"}
        kept = li.post("/quarantine", act="drop", **many)  # without a word that one is sure
        released = li.post("/quarantine", act="release", **many)

    assert "4 instances" in page.text
    assert "4 instances" in kept.text
    assert "<script>alert" not in page.text + released.text
    assert "3 entries decided; 0 of the same kind are left" in released.text
    assert [row["id"] for row in steward.quarantined(config)] == [other]
    assert [facts["by"] for facts in events(config, "quarantine_released")] == ["li"] * 3


def test_an_entry_is_dropped_only_by_somebody_who_is_sure(config):
    entry = keep(config, 1, BROKEN, "CT1")

    with a_console(config) as console:
        li = console.somebody()
        li.post(f"/quarantine/{entry}", act="drop")
        assert [row["id"] for row in steward.quarantined(config)] == [entry]
        li.post(f"/quarantine/{entry}", act="drop", sure="1")
        gone = li.get(f"/quarantine/{entry}")

    assert steward.quarantined(config) == []
    assert gone.status == 404


def test_an_entry_that_does_not_open_any_more_can_be_dropped(config):
    entry, other = (keep(config, number, BROKEN, "CT1") for number in range(2))
    shutil.copy(*(next(config.vault_dir.rglob(f"{one}.sealed")) for one in (other, entry)))

    with a_console(config) as console:
        li = console.somebody()
        answer = li.post(f"/quarantine/{entry}", act="drop", sure="1")

    assert "Dropped" in answer.text
    assert [row["id"] for row in steward.quarantined(config)] == [other]


def test_an_entry_that_somebody_else_decided_about_stops_no_press(config):
    entries = [keep(config, number, BROKEN, "CT1") for number in range(3)]

    with a_console(config) as console:
        li = console.somebody()
        shelf = console.house._shelf
        shelf.chosen = lambda _reason, _sender: (entries, 0)
        steward.drop_entry(config, entries[0], "wang")
        answer = li.post("/quarantine", act="release", reason=BROKEN.reason)

    assert "2 entries decided" in answer.text
    assert steward.quarantined(config) == []


def test_a_shelf_of_many_entries_is_turned_by_key(config):
    for number in range(60):
        keep(config, number, BROKEN, "CT1")

    with a_console(config) as console:
        li = console.somebody()
        first = li.get("/quarantine").text
        onward = first.partition("after=")[2].partition('"')[0]
        second = li.get(f"/quarantine?after={onward}").text

    ids = {row["id"] for row in steward.quarantined(config)}
    shown = [{one for one in ids if f'"/quarantine/{one}"' in text} for text in (first, second)]
    assert [len(one) for one in shown] == [50, 10]
    assert not shown[0] & shown[1]


def test_what_left_is_shown_summed_and_exported(config):
    from gateway.release.ledger import Ledger
    from gateway.release.rules import Kind
    from protos.v1.link_pb2 import ConnectRequest, Heartbeat

    ledger = Ledger.open(config.ledger_file)
    payload = ConnectRequest(heartbeat=Heartbeat()).SerializeToString()
    for _ in range(60):
        ledger.append(Kind.HEARTBEAT, "link", "heartbeat", "policy", payload)
    ledger.append(Kind.DECISION, NASTY, NASTY, NASTY, b"\xff\xff")
    ledger.close()

    with a_console(config) as console:
        li = console.somebody()
        first, second = li.get("/sent").text, li.get("/sent?before=12").text
        nasty, beat = li.get("/sent/61").text, li.get("/sent/60").text
        totals = li.get("/sent/totals").text
        exported = li.get("/sent/export.jsonl").text.splitlines()
        verified = li.post("/sent")

    assert first.count("/sent/") - second.count("/sent/") == 39
    assert "<script>alert" not in first + nasty
    assert "ffff" in nasty
    assert "heartbeat" in beat
    assert len(exported) == 61
    assert "60" in totals
    assert "61 entries" in verified.text


def test_totals_that_two_ask_for_at_once_are_added_up_once(config):
    from threading import Barrier, BrokenBarrierError, Thread

    from gateway.app.house_ledger import LedgerBoard
    from gateway.release.ledger import Ledger

    ledger = Ledger.open(config.ledger_file)
    ledger.append("heartbeat", "link", "heartbeat", "policy", b"x")
    ledger.close()
    board, both = LedgerBoard(config), Barrier(2)
    read = board._read

    def together(sql, values=()):
        rows = read(sql, values)
        if "GROUP BY" in sql and not both.broken:
            with suppress(BrokenBarrierError):
                both.wait(0.5)
        return rows

    board._read = together
    askers = [Thread(target=board.totals) for _ in range(2)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()

    assert [row["messages"] for row in board.totals()] == [1]


def test_a_ledger_that_was_altered_says_so(config):
    import sqlite3

    from gateway.release.ledger import Ledger

    ledger = Ledger.open(config.ledger_file)
    ledger.append("heartbeat", "link", "heartbeat", "policy", b"x")
    ledger.close()
    with sqlite3.connect(config.ledger_file) as raw:
        raw.execute("UPDATE entry SET rule = 'another'")

    with a_console(config) as console:
        answer = console.somebody().post("/sent")

    assert answer.status == 409
    assert "altered at entry 1" in answer.text


def test_the_budget_says_who_spent_and_when_it_ends(config):
    from fractions import Fraction

    from gateway.cohort.privacy import Price, PrivacyLedger

    ledger = PrivacyLedger.open(config.data / "privacy.db", b"n" * 32)
    price = Price(Fraction(1, 4), Fraction(1), Fraction(1))
    for number in range(2):
        ledger.answer(
            bytes([number]) * 32, f"uni/alice {NASTY}", price, Fraction(10), lambda: {(): 5}
        )
    ledger.close()

    with a_console(config) as console:
        text = console.somebody().get("/budget").text

    assert "rho 0.5" in text
    assert "0.5 of 1 spent" in text
    assert "uni/alice &lt;script&gt;" in text
    assert f"Left of {time.gmtime().tm_year}" in text
