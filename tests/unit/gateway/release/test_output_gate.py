from dataclasses import replace

import pytest

from gateway.policy import Policy
from gateway.release.gate import Gate, GateShut, Released
from gateway.release.ledger import Ledger
from gateway.release.rules import Kind, histogram_bits, rounded
from gateway.release.updates import ReleasedUpdate, UpdateShelf
from protos.job_manifest import MetricSpec
from protos.v1 import job_pb2
from protos.v1.question_pb2 import (
    ANSWER_STATE_BELOW_THRESHOLD,
    ANSWER_STATE_OFFLINE,
    ANSWER_STATE_REFUSED_POLICY,
    ANSWER_STATE_VALUE,
    Answer,
    Cell,
)
from tests.fakes.releasing import shelve

LOSS = MetricSpec(name="loss", maximum=10)


@pytest.fixture
def ledger(tmp_path):
    return Ledger.open(tmp_path / "ledger.db")


@pytest.fixture
def shelf(tmp_path):
    return UpdateShelf(tmp_path / "updates")


@pytest.fixture
def gate(ledger, shelf):
    return Gate(Policy, ledger, shelf, {"code_failed"})


def value(count=25, **changes):
    cell = Cell(values=["F"], state=ANSWER_STATE_VALUE, count=count)
    fields = {"question_id": "q1", "state": ANSWER_STATE_VALUE, "cells": [cell]}
    return Answer(**fields | {"sigma": 10, "rho": 0.005, "epoch": "2026Q4"} | changes)


def test_nobody_but_the_gate_makes_what_the_link_sends():
    with pytest.raises(TypeError, match="only the gate"):
        Released(Kind.ANSWER, b"secret", 1, object())


def test_what_was_released_cannot_be_made_into_something_else(gate):
    with pytest.raises((TypeError, ValueError)):
        replace(gate.heartbeat(), payload=b"secret")


def test_the_ledger_holds_the_very_bytes_before_they_are_returned(gate, ledger):
    released = gate.answer("answer-q1", value())

    entry = ledger.entry(released.entry)
    assert ledger.payload(entry) == released.payload
    assert (entry.kind, entry.reference) == ("answer", "q1")
    assert "sigma=10" in entry.rule


@pytest.mark.parametrize(
    "answer",
    [
        value(count=9),
        value(sigma=0),
        value(rho=0),
        value(state=ANSWER_STATE_OFFLINE),
        value(state=ANSWER_STATE_BELOW_THRESHOLD),
        value(cells=[Cell(values=["Zhang^San"], state=ANSWER_STATE_VALUE, count=20)]),
        value(cells=[Cell(state=ANSWER_STATE_BELOW_THRESHOLD, count=3)]),
        value(epoch="Zhang^San"),
        value(question_id="q 1"),
        value(rule="Zhang^San"),
        Answer(question_id="q1", state=ANSWER_STATE_REFUSED_POLICY, rule="because of Zhang^San"),
        Answer(question_id="q1", state=ANSWER_STATE_REFUSED_POLICY, rule="field_refused", rho=0.25),
    ],
)
def test_an_answer_with_anything_else_in_it_stays(gate, ledger, answer):
    with pytest.raises(GateShut):
        gate.answer("answer-q1", answer)

    assert ledger.total_bytes() == 0


def test_unknown_fields_do_not_ride_along(gate):
    raw = value().SerializeToString() + bytes([0xFA, 0x3F, 6]) + b"secret"

    assert b"secret" not in gate.answer("answer-q1", Answer.FromString(raw)).payload


def outcome(**changes):
    fields = {"task_id": "t1", "state": job_pb2.TASK_STATE_RELEASED, "weight": 20}
    return job_pb2.TaskOutcome(**fields | changes)


def test_an_outcome_may_name_only_an_update_that_was_released(gate, shelf):
    with pytest.raises(GateShut, match="unknown_update"):
        gate.outcome("o", outcome(update_digest=bytes(32)), "policy")

    shelve(shelf, ReleasedUpdate("t1", "00" * 32, 3, 1.0, 1.0, 1.0), b"abc")

    assert gate.outcome("o", outcome(update_digest=bytes(32)), "policy").payload


@pytest.mark.parametrize(
    "said",
    [
        outcome(weight=0),
        outcome(code="code_failed"),
        outcome(metrics=[job_pb2.Metric(name="loss", value=0.123456)]),
        outcome(metrics=[job_pb2.Metric(name="patient", value=1)]),
        outcome(metrics=[job_pb2.Metric(name="loss", value=11)]),
        outcome(validation=job_pb2.ScoreHistogram(edges=[0], positives=[9, 0], negatives=[10, 10])),
        outcome(validation=job_pb2.ScoreHistogram(edges=[0], positives=[20], negatives=[20])),
        outcome(state=job_pb2.TASK_STATE_FAILED, code="Traceback: Zhang^San"),
        outcome(state=job_pb2.TASK_STATE_FAILED, code="code_failed", weight=20),
    ],
)
def test_an_outcome_with_anything_else_in_it_stays(gate, said):
    with pytest.raises(GateShut):
        gate.outcome("o", said, "policy", [LOSS])


def test_a_released_update_leaves_in_chunks_that_say_where_they_belong(gate, shelf, ledger):
    payload = bytes(range(256)) * 8192 + b"tail"
    from hashlib import sha256

    digest = sha256(payload).hexdigest()
    shelve(shelf, ReleasedUpdate("t1", digest, len(payload), 1.0, 1.0, 1.0), payload)

    chunks = list(gate.chunks("t1", "steward", offset=1 << 20))

    assert len(chunks) == 2
    assert ledger.total_bytes() == sum(len(chunk.payload) for chunk in chunks)


def test_an_update_altered_on_disk_does_not_leave(gate, shelf):
    shelve(shelf, ReleasedUpdate("t1", "ab" * 32, 3, 1.0, 1.0, 1.0), b"abc")

    with pytest.raises(Exception, match="altered"):
        next(gate.chunks("t1", "steward"))


def test_the_first_release_of_a_task_stands(shelf):
    first = shelve(shelf, ReleasedUpdate("t1", "aa" * 32, 3, 1.0, 1.0, 1.0), b"abc")
    second = shelve(shelf, ReleasedUpdate("t1", "bb" * 32, 3, 1.0, 1.0, 1.0), b"xyz")

    assert second == first


def test_metrics_are_bounded_and_rounded():
    assert rounded(3.14159, LOSS) == 3.14
    assert rounded(float("nan"), LOSS) == 0
    assert rounded(1e9, LOSS) == 10


def test_a_histogram_is_charged_for_what_it_can_spell():
    assert histogram_bits(1, 2) == pytest.approx(1)
    assert histogram_bits(0, 200) == 0
