from datetime import UTC, datetime

import pytest

from coordinator.cli.watching import screen, standings

NOW = datetime(2026, 11, 25, 12, 1, 5, tzinfo=UTC)


def a_site(decision="approved", rule=""):
    return {"site": "tongji", "decision": decision, "rule": rule}


def a_part(state, code="", number=1, since="2026-11-25T12:00:00+00:00"):
    return {"site": "tongji", "round": number, "state": state, "code": code, "since": since}


def a_document(site, *parts):
    return {
        "job_id": "job1",
        "stage": "running",
        "round": 1,
        "rounds_planned": 3,
        "sites": [site],
        "rounds": list(parts),
    }


@pytest.mark.parametrize(
    ("site", "parts", "said"),
    [
        (a_site("unspecified"), (), "awaiting approval"),
        (a_site("rejected", "steward_rejected"), (), "rejected (steward_rejected)"),
        (a_site("refused", "vendor_budget"), (), "refused (vendor_budget)"),
        (a_site(), (), "approved"),
        (a_site(), (a_part("unspecified", since=None),), "queued, round 1 of 3"),
        (a_site(), (a_part("running"),), "running, round 1 of 3"),
        (a_site(), (a_part("released"), a_part("running", number=2)), "running, round 2 of 3"),
        (a_site(), (a_part("released"),), "released, round 1 of 3"),
        (
            a_site(),
            (a_part("withheld", "schema_mismatch:w"),),
            "withheld (schema_mismatch:w), round 1 of 3",
        ),
        (a_site(), (a_part("failed", "out_of_memory"),), "failed (out_of_memory), round 1 of 3"),
        (a_site(), (a_part("running", number=4),), "running, the final model"),
    ],
)
def test_each_hospitals_standing_is_a_phrase(site, parts, said):
    (row,) = standings(a_document(site, *parts), NOW)

    assert row["standing"] == said


def test_how_long_it_has_been_so_is_told():
    (running,) = standings(a_document(a_site(), a_part("running")), NOW)
    (waiting,) = standings(a_document(a_site("unspecified")), NOW)

    assert running["since"] == "1 min 5 s"
    assert waiting["since"] == ""


def test_without_a_terminal_each_change_is_one_line(capsys):
    with screen(live=False) as tell:
        tell(a_document(a_site()))
        tell(a_document(a_site()))
        tell(a_document(a_site(), a_part("running")))

    assert capsys.readouterr().err.splitlines() == [
        "job: running, round 1",
        "tongji: approved",
        "tongji: running, round 1 of 3",
    ]
