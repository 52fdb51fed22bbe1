"""The book of requests: who delivers what when, over crashes and clocks that jump."""

import sqlite3

import pytest

from gateway.intake.commitment import CommitmentRequest, FailureReason, NoPlace, Reference
from gateway.intake.commitment_book import HOLD_SECONDS, REPLY_SECONDS, Book
from gateway.intake.commitment_rules import GIVE_UP_SECONDS, KEEP_SECONDS
from gateway.model import RealUID

pytestmark = pytest.mark.flow
KEY = b"k" * 32
CT = "1.2.840.10008.5.1.4.1.1.2"


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def book(tmp_path, clock):
    opened = Book.open(tmp_path / "book.db", KEY, clock)
    yield opened
    opened.close()


def a_request(transaction="1.2.3", *instances):
    named = instances or ("1.2.3.4",)
    return CommitmentRequest(transaction, tuple(Reference(CT, RealUID(uid)) for uid in named))


def examined(book, *, peer="ct", holder="one", failures=None, transaction="1.2.3"):
    book.take(peer, a_request(transaction), holder)
    for report, _ in list(book.asked()):
        book.examined(report, failures or {})


def due(book):
    return [report for peer in book.due_peers() for report in book.hold_due(peer, 10)]


def test_what_was_written_is_read_by_another_process(book, clock, tmp_path):
    examined(book, failures={0: FailureReason.NO_SUCH_OBJECT_INSTANCE})
    book.let_go("one")

    (report,) = due(Book.open(tmp_path / "book.db", KEY, clock))

    assert report.request == a_request()
    assert report.failures == {0: FailureReason.NO_SUCH_OBJECT_INSTANCE}


def test_the_askers_association_has_the_first_word(book, clock):
    examined(book)

    assert due(book) == []
    assert book.claim("another") is None
    assert book.claim("one").request == a_request()
    assert book.claim("one") is None
    clock.now += REPLY_SECONDS - 1
    assert due(book) == []
    clock.now += 2
    assert len(due(book)) == 1


def test_an_association_that_is_gone_is_not_waited_for(book):
    examined(book)
    book.claim("one")
    book.let_go("one")

    assert len(due(book)) == 1


def test_one_that_stays_silent_is_not_waited_for_long(book, clock):
    examined(book)
    clock.now += HOLD_SECONDS + 1

    assert book.claim("one") is None
    assert len(due(book)) == 1


def test_a_room_that_was_killed_begins_again(book):
    examined(book)
    book.let_go("one")
    assert len(due(book)) == 1
    assert due(book) == []

    book.begin_again()

    assert len(due(book)) == 1


def test_nothing_waits_for_a_clock_that_was_set_back(book, clock):
    examined(book)
    book.let_go("one")
    (report,) = due(book)
    book.put_off(report.number)
    assert due(book) == []

    clock.now -= 7200

    assert len(due(book)) == 1


def test_a_delivered_report_leaves_nothing_but_its_digests(book, tmp_path):
    examined(book)
    report = book.claim("one")

    book.answered(report.number, 0x0000)

    rows = sqlite3.connect(tmp_path / "book.db").execute("SELECT stage, sealed FROM request")
    assert rows.fetchall() == [("delivered", None)]
    assert book.counts() == {"pending": 0, "delivered": 1}


def test_two_peers_may_choose_the_same_transaction_uid(book):
    book.take("ct", a_request(), "one")
    book.take("mr", a_request("1.2.3", "1.2.9"), "two")

    assert len(list(book.asked())) == 2


def test_after_a_month_a_report_is_given_up_and_then_forgotten(book, clock):
    examined(book)
    clock.now += GIVE_UP_SECONDS + 1
    assert book.tidy() == ["ct"]
    assert book.counts() == {"pending": 0, "delivered": 0, "abandoned": 1}

    clock.now += KEEP_SECONDS + 1
    book.tidy()

    assert book.counts() == {"pending": 0, "delivered": 0}


def test_a_peer_cannot_fill_the_book(book, monkeypatch):
    monkeypatch.setattr("gateway.intake.commitment_book.OPEN_AT_MOST", 2)
    for number in range(2):
        book.take("ct", a_request(f"1.2.{number}"), "one")

    with pytest.raises(NoPlace):
        book.take("ct", a_request("1.2.9"), "one")
    book.take("mr", a_request("1.2.9"), "one")


def test_a_row_that_does_not_open_does_not_hold_up_the_others(book, tmp_path):
    examined(book, transaction="1.2.3")
    examined(book, transaction="1.2.4")
    book.let_go("one")
    other = sqlite3.connect(tmp_path / "book.db", isolation_level=None)
    other.execute("UPDATE request SET sealed = zeroblob(60) WHERE number = 1")

    (report,) = due(book)

    assert report.request.transaction == "1.2.4"
    assert book.counts()["damaged"] == 1
