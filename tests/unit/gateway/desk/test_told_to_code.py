"""What a job's code is told of its round."""

from pathlib import Path
from threading import Event
from types import SimpleNamespace

from gateway.desk.running import run_round
from protos.job_manifest import parse_manifest

MANIFEST = """
name = "a"
kind = "training"
purpose = "p"
label = "l"
rounds = 4
cohort = [{ field = "Modality", values = ["CT"] }]
weights.w = { shape = [1] }
"""


def told(plan: str) -> dict[str, object]:
    runner = SimpleNamespace(run=lambda *given, **_: given)
    given = run_round(
        runner, Path(), None, None, parse_manifest(MANIFEST + plan),
        number=2, evaluate_only=False, wall_seconds=1.0, cancelled=Event(),
    )  # fmt: skip
    return given[3]


def test_fedprox_tells_the_code_how_far_it_may_go_and_others_say_nothing():
    assert told('training = { strategy = "fedprox", mu = 0.25 }')["mu"] == 0.25
    assert told("")["mu"] == 0.0
    assert (told("")["round"], told("")["rounds"]) == (2, 4)
