"""A log holds facts of known names alone: what no room logs under cannot get into a line."""

import ast
import json
from pathlib import Path

import pytest
import structlog

from coordinator.app import logs as centre_logs
from coordinator.app import plain_logs as centre
from gateway.app import plain_logs as hospital
from gateway.app.process import configure_logs

ROOT = Path(__file__).resolve().parents[2]
BY_STRUCTLOG = {"event", "level", "timestamp"}
LEVELS = ("debug", "info", "warning", "error", "exception", "critical")
SPEAKS = {("log", level) for level in LEVELS}
HOUSES = [("gateway", hospital), ("coordinator", centre)]


def logged(house):
    """Return the calls of a log, and the names under which facts are given to it."""
    for path in (ROOT / house).rglob("*.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                logger = node.func.value
                if isinstance(logger, ast.Name) and (logger.id, node.func.attr) in SPEAKS:
                    yield path, node


@pytest.mark.parametrize(("house", "logs"), HOUSES)
def test_every_fact_that_a_room_logs_has_a_known_name(house, logs):
    calls = list(logged(house))
    names = {word.arg for _, call in calls for word in call.keywords if word.arg}

    assert len(calls) > 10
    assert names <= logs.FACTS


@pytest.mark.parametrize(("house", "logs"), HOUSES)
def test_no_room_logs_a_sentence_or_a_traceback(house, logs):
    for path, call in logged(house):
        where = f"{path.name}:{call.lineno}"
        assert call.func.attr != "exception", where
        assert not {"exc_info", "stack_info"} & {word.arg for word in call.keywords}, where
        (event,) = call.args
        assert isinstance(event, ast.Constant), where
        assert event.value.replace("_", "").isalpha(), where
    assert logs.FACTS >= BY_STRUCTLOG


@pytest.mark.parametrize("configure", [configure_logs, centre_logs.configure])
def test_what_has_no_known_name_is_left_out_and_what_has_is_one_short_line(configure, capsys):
    before = structlog.get_config()
    try:
        configure()
        structlog.get_logger().info(
            "started", patient_name="Featherstone", site="a\nb\x1b[2J", says="x" * 5000
        )
    finally:
        structlog.configure(**before)
    (line,) = capsys.readouterr().err.splitlines()

    said = json.loads(line)
    assert "Featherstone" not in line
    assert said["left_out"] == 1
    assert said["site"] == "a?b?[2J"
    assert len(said["says"]) < 400
