"""When a steady run counts as flat."""

import random

import pytest

from tests.chaos.steady import Sample, verdict


def run(*, grows=0, backlog=0.0, slows=0.0, noise=0.0, count=200):
    dice = random.Random(1)
    return [
        Sample(
            at=3.0 * n,
            kilobytes={"gateway": 100_000 + grows * n, "receiver 0": 60_000},
            backlog=int(5 + backlog * n),
            latencies=[0.004 + slows * n + dice.random() * noise for _ in range(50)],
        )
        for n in range(count)
    ]


def test_what_stays_as_it_was_is_flat():
    seen = verdict(run())

    assert seen["flat"]
    assert seen["memory_mb"]["gateway"] == [102.4, 102.4]


@pytest.mark.parametrize(
    ("change", "grew"),
    [
        ({"grows": 100}, ["memory of gateway"]),
        ({"backlog": 1.0}, ["backlog"]),
        ({"slows": 0.0001}, ["latency"]),
    ],
)
def test_what_grows_is_named(change, grew):
    assert verdict(run(**change))["grew"] == grew


def test_a_machine_that_gets_busy_is_no_growth():
    samples = run(noise=0.0)
    busy = [s for n, s in enumerate(samples) if n > 150 and n % 2]
    for sample in busy:
        sample.latencies[:] = [0.5] * 50

    assert verdict(samples)["flat"]
