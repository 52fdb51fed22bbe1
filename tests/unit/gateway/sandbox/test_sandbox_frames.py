import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.sandbox.frames import parse
from gateway.sandbox.rules import OUTPUTS, FailureCode


def frame(head, body=b""):
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<I", len(text)) + text + body


def test_outputs_come_out_by_name():
    raw = frame({"code": "ok", "outputs": [["metrics.json", 2], ["predictions.csv", 3]]}, b"{}a,b")

    found = parse(raw, OUTPUTS)

    assert found.failure is None
    assert found.outputs == {"metrics.json": b"{}", "predictions.csv": b"a,b"}


def test_a_failure_is_one_of_the_closed_set():
    assert parse(frame({"code": "code_failed", "outputs": []}), OUTPUTS).failure is (
        FailureCode.CODE_FAILED
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0\0",
        struct.pack("<I", 2**31),
        frame(b"{"),
        frame(b"[" * 2000),
        frame([]),
        frame({"code": "ZHANG^WEI", "outputs": []}),
        frame({"code": "ok", "outputs": [["pixels.bin", 1]]}, b"x"),
        frame({"code": "ok", "outputs": [["metrics.json", 2]]}, b"x"),
        frame({"code": "ok", "outputs": [["metrics.json", 1]]}, b"xx"),
        frame({"code": "ok", "outputs": [["metrics.json", -1]]}),
        frame({"code": "ok", "outputs": [["metrics.json", 0], ["metrics.json", 0]]}),
        frame({"code": "ok", "outputs": 3}),
    ],
)
def test_whatever_is_not_exactly_one_frame_is_nothing(raw):
    assert parse(raw, OUTPUTS) is None


@given(st.binary(max_size=200))
def test_noise_is_nothing(raw):
    assert parse(raw, OUTPUTS) is None
