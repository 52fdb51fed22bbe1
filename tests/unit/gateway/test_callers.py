"""What each known caller did last; strangers leave no mark."""

from datetime import UTC, datetime

from gateway.app.callers import Callers, last_of
from gateway.app.process import write_state
from gateway.config import GatewayConfig, Intake, Peer


def test_the_last_of_each_peer_is_kept_and_passed_on():
    heard, moments = [], iter(range(1, 9))
    callers = Callers(
        lambda event, **facts: heard.append((event, facts)),
        Intake(peers=(Peer(name="pacs", ae_title="PACS"),)),
        lambda: datetime(2026, 11, 25, 12, next(moments), tzinfo=UTC),
    )

    callers.hear("association_accepted", peer="pacs")
    callers.hear("instance_stored", size=1)
    callers.hear("association_rejected", source=1, reason=7, caller="PACS")
    callers.hear("association_rejected", source=1, reason=3, caller="STRANGER\u202e")
    callers.hear("association_accepted", peer="pacs")

    assert [event for event, _facts in heard].count("association_rejected") == 2
    assert callers.snapshot() == {
        "pacs": {
            "accepted": {"at": "2026-11-25T12:03:00+00:00"},
            "fault": {
                "at": "2026-11-25T12:02:00+00:00",
                "event": "association_rejected",
                "source": "1",
                "reason": "7",
            },
        }
    }


def test_the_newest_of_all_receivers_counts(tmp_path):
    config = GatewayConfig(site="tongji", data=tmp_path)
    for number, minute in ((0, "05"), (1, "03")):
        at = f"2026-11-25T12:{minute}:00+00:00"
        write_state(config.run_dir / f"callers-{number}.json", {"pacs": {"accepted": {"at": at}}})

    assert last_of(config) == {"pacs": {"accepted": {"at": "2026-11-25T12:05:00+00:00"}}}
