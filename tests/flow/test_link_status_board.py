"""The link's status file: what those who look are told, and nothing the link hangs on."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.link.status import LinkState, LinkStatus, StatusBoard, read_status

pytestmark = pytest.mark.flow

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def test_what_changes_is_read_by_others(tmp_path):
    board = StatusBoard(tmp_path / "run" / "link.json", lambda: NOW, LinkStatus())
    board.change(LinkState.CLOCK, "wrong")
    assert read_status(tmp_path / "run" / "link.json") == board.status


def test_signs_of_life_within_a_second_are_written_once(tmp_path):
    at = NOW
    board = StatusBoard(tmp_path / "link.json", lambda: at, LinkStatus())
    seen = []
    for seconds in (0, 0.4, 0.8, 1.2):
        at = NOW + timedelta(seconds=seconds)
        board.heard()
        seen.append(read_status(tmp_path / "link.json").last_heard)
    assert seen == [NOW.isoformat()] * 3 + [at.isoformat()]


def test_a_board_that_cannot_be_written_does_not_stop_the_link(tmp_path):
    (tmp_path / "run").write_text("a file stands where the directory should")
    board = StatusBoard(tmp_path / "run" / "link.json", lambda: NOW, LinkStatus())
    board.heard()
    board.change(LinkState.CONNECTED)
    assert board.status.state is LinkState.CONNECTED
    (tmp_path / "run").unlink()
    board.change(LinkState.CLOCK, "wrong")
    assert read_status(tmp_path / "run" / "link.json") == board.status
