import sqlite3

import pytest

from gateway.audit import AuditTrail
from gateway.errors import IntegrityFault


def test_events_come_back_in_order_and_verify(tmp_path):
    trail = AuditTrail.open(tmp_path / "audit.db")

    trail.record("job_approved", job="j1", by="Dr. Steward")
    trail.record("job_rejected", job="j2", by="王医生", reason="没有伦理批准")

    assert [event.event for event in trail.events()] == ["job_approved", "job_rejected"]
    assert trail.verify() == 2


@pytest.mark.parametrize(
    "crime",
    [
        "UPDATE trail SET body = replace(body, 'j1', 'j9') WHERE number = 1",
        "DELETE FROM trail WHERE number = 1",
        "UPDATE trail SET link = zeroblob(32) WHERE number = 2",
    ],
)
def test_an_altered_trail_is_found_out(tmp_path, crime):
    trail = AuditTrail.open(tmp_path / "audit.db")
    for job in ("j1", "j2", "j3"):
        trail.record("job_approved", job=job)
    with sqlite3.connect(tmp_path / "audit.db") as other:
        other.execute(crime)

    with pytest.raises(IntegrityFault, match="altered"):
        trail.verify()


def test_two_processes_write_one_chain(tmp_path):
    one, two = (AuditTrail.open(tmp_path / "audit.db") for _ in range(2))

    for number in range(10):
        (one, two)[number % 2].record("event", number=number)

    assert one.verify() == 10
