"""What the client says when the coordinator's port takes a call and then nobody speaks."""

import socket
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from coordinator.api.client import Credential, Federation
from coordinator.app.setup import initialise
from coordinator.errors import CoordinatorUnreachable

pytestmark = pytest.mark.flow


def test_a_coordinator_that_hangs_up_has_refused_nobody(tmp_path):
    initialise(tmp_path / "centre", "demo", ["127.0.0.1:1"], datetime.now(UTC))
    credential = Credential.load(tmp_path / "centre" / "operator")
    with closing(socket.create_server(("127.0.0.1", 0))) as port:

        def hang_up():
            while True:
                try:
                    port.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=hang_up, daemon=True).start()
        address = f"127.0.0.1:{port.getsockname()[1]}"
        with (
            Federation(replace(credential, address=address)) as client,
            pytest.raises(CoordinatorUnreachable),
        ):
            client.sites()
