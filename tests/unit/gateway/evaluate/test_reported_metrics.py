import pytest

from gateway.evaluate.metrics import MetricsCode, metric_bits, read_metrics
from protos.job_manifest import MetricSpec

DECLARED = (MetricSpec(name="loss", maximum=5.0, decimals=2), MetricSpec(name="accuracy"))


def test_declared_metrics_are_rounded_and_in_order():
    raw = b'{"accuracy": 0.98765, "loss": 1.23456}'

    assert read_metrics(raw, DECLARED, patients=10) == [("loss", 1.23), ("accuracy", 0.99)]


def test_a_declared_metric_may_be_absent():
    assert read_metrics(b"{}", DECLARED, patients=10) == []


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", MetricsCode.MALFORMED),
        (b"[]", MetricsCode.MALFORMED),
        (b"\xff", MetricsCode.MALFORMED),
        (b"[" * 5000, MetricsCode.MALFORMED),
        (b'{"loss": "ZHANG^WEI"}', MetricsCode.MALFORMED),
        (b'{"loss": true}', MetricsCode.MALFORMED),
        (b'{"loss": [1]}', MetricsCode.MALFORMED),
        (b'{"loss": 1' + b"0" * 400 + b"}", MetricsCode.MALFORMED),
        (b'{"loss": 1' + b" " * 70000 + b"}", MetricsCode.MALFORMED),
        (b'{"patients": 3}', MetricsCode.UNDECLARED),
        (b'{"loss": NaN}', MetricsCode.OUT_OF_BOUNDS),
        (b'{"loss": Infinity}', MetricsCode.OUT_OF_BOUNDS),
        (b'{"loss": 5.01}', MetricsCode.OUT_OF_BOUNDS),
        (b'{"accuracy": -0.01}', MetricsCode.OUT_OF_BOUNDS),
    ],
)
def test_every_other_report_has_a_code(raw, code):
    assert read_metrics(raw, DECLARED, patients=10) is code


def test_nothing_is_reported_of_fewer_than_ten_patients():
    assert read_metrics(b"{}", DECLARED, patients=9) is MetricsCode.TOO_FEW_PATIENTS


def test_what_the_metrics_can_carry_is_small_and_known():
    assert 15 < metric_bits(DECLARED) < 16
