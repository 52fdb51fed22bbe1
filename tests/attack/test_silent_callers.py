"""Thousands of connections to the coordinator that never begin a handshake."""

import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.bench.federation.harness import Centre
from tests.bench.processes import free_port

pytestmark = [pytest.mark.attack, pytest.mark.flow]

SILENT = 600  # more than `ulimit -n 512` has room for


def test_silent_callers_keep_nobody_out_and_are_sent_away(tmp_path):
    centre = Centre.found(tmp_path / "centre", ["tongji"], free_port())
    with ExitStack() as stack:
        centre.start(files=512)
        stack.callback(centre.stop)
        held = Path(f"/proc/{next(iter(centre.tree.pids()))}/fd")
        for _ in range(SILENT):
            stack.enter_context(socket.create_connection(("127.0.0.1", centre.port), 5))
        with centre.operator() as client:
            assert list(client.sites()) == []
        ends = time.monotonic() + 40
        while len(list(held.iterdir())) > SILENT // 2:
            assert time.monotonic() < ends, "silent callers were kept"
            time.sleep(0.5)
