import sqlite3
from hashlib import sha256

import pytest

from gateway.errors import EnvironmentFault, IntegrityFault
from gateway.release.ledger import Ledger


@pytest.fixture
def ledger(tmp_path):
    return Ledger.open(tmp_path / "ledger.db")


def fill(ledger, entries=5):
    for number in range(entries):
        ledger.append("answer", f"q{number}", "sigma=10", "policy", b"payload %d" % number)


def test_an_entry_says_what_when_why_and_who(ledger):
    entry = ledger.append("decision", "j1", "approved", "Dr. Steward", b"bytes")

    assert (entry.number, entry.kind, entry.reference) == (1, "decision", "j1")
    assert entry.digest == sha256(b"bytes").digest()
    assert ledger.payload(entry) == b"bytes"


def test_the_total_counts_every_attempt_and_keeps_equal_payloads_once(ledger):
    for _ in range(3):
        ledger.append("chunk", "t1", "noised", "policy", b"x" * 1000)

    report = ledger.verify()

    assert report.total_bytes == ledger.total_bytes() == 3000
    assert report.entries == 3
    assert ledger._connection.execute("SELECT count(*) FROM payload").fetchone() == (1,)


def test_a_new_process_continues_the_chain(tmp_path, ledger):
    fill(ledger)
    again = Ledger.open(tmp_path / "ledger.db")
    fill(again)

    assert ledger.verify().entries == 10


def test_pages_cover_a_long_ledger(ledger, monkeypatch):
    monkeypatch.setattr("gateway.release.ledger.PAGE", 3)
    fill(ledger, 10)

    assert [e.number for e in ledger.entries()] == list(range(1, 11))
    assert [e.number for e in ledger.entries(after=4, limit=5)] == [5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    "crime",
    [
        "UPDATE entry SET size = 1 WHERE number = 2",
        "UPDATE entry SET approved_by = 'nobody' WHERE number = 3",
        "DELETE FROM entry WHERE number = 2",
        "UPDATE payload SET content = x'00'",
        "UPDATE entry SET link = zeroblob(32) WHERE number = 5",
    ],
)
def test_an_altered_ledger_is_found_out(tmp_path, ledger, crime):
    fill(ledger)
    with sqlite3.connect(tmp_path / "ledger.db") as other:
        other.execute(crime)

    with pytest.raises(IntegrityFault, match="altered"):
        ledger.verify()


@pytest.mark.parametrize(
    "crime",
    [
        "DELETE FROM entry WHERE number > 2",  # and nobody sends again
        "DELETE FROM entry",
        "UPDATE entry SET link = zeroblob(32) WHERE number = 9",  # nothing: the chain is whole
    ],
)
@pytest.mark.parametrize("goes_on", [False, True])
def test_what_a_checkpoint_signed_cannot_be_cut_off(tmp_path, ledger, crime, goes_on):
    fill(ledger)
    signed = [(at, ledger.link_at(at)) for at in (2, 4, 5)]
    fill(ledger, 2)  # after the last checkpoint
    with sqlite3.connect(tmp_path / "ledger.db") as other:
        cut = other.execute(crime).rowcount
    if goes_on:
        fill(ledger, 6)

    ledger.verify()  # a chain by itself is whole however short
    if cut:
        with pytest.raises(IntegrityFault, match="checkpoint signed"):
            ledger.verify(signed)
    else:
        assert ledger.verify(signed).head == ledger.head()[1]


def test_a_payload_may_be_erased_under_retention(tmp_path, ledger):
    fill(ledger)
    with sqlite3.connect(tmp_path / "ledger.db") as other:
        other.execute("DELETE FROM payload")

    report = ledger.verify()

    assert (report.entries, report.payloads_kept) == (5, 0)


def test_a_full_disk_is_said_in_a_sentence_and_leaves_the_chain_whole(tmp_path):
    ledger = Ledger.open(tmp_path / "ledger.db")
    ledger.append("hello", "link", "hello", "policy", b"before")
    (pages,) = ledger._connection.execute("PRAGMA page_count").fetchone()
    ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(EnvironmentFault, match="nothing is sent until it can"):
        ledger.append("answer", "q1", "policy", "policy", bytes(100_000))
    ledger._connection.execute("PRAGMA max_page_count = 1000000")
    ledger.append("answer", "q1", "policy", "policy", bytes(100_000))
    assert ledger.verify().entries == 2
