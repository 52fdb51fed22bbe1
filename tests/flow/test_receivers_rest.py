"""An idle gateway keeps one receiver; the others come back with the first instance."""

import os
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.app.process import read_state
from gateway.app.quiet import Quiet, instances_of_first
from gateway.app.workers import IntakeWorkers
from gateway.intake.sockets import listen
from tests.chaos.images import CT, write
from tests.chaos.running import Gateway
from tests.chaos.senders import StoreScu
from tests.fakes.raw_scu import RawScu, an_echo, data
from tests.fakes.receiver import eventually

pytestmark = pytest.mark.flow
QUIET = 2.0
P_DATA = 4


@contextmanager
def receivers(gateway):
    """Run the gateway's receivers alone, with little patience; yield how many there are."""
    config = gateway.config
    sockets = [("--fd", listening) for listening, _tls in listen(config.intake)]
    settings = gateway.directory / "gateway.toml"
    workers = IntakeWorkers(
        settings, 2, sockets, lambda: instances_of_first(config), quiet_seconds=QUIET
    )
    stop = threading.Event()
    watching = threading.Thread(target=workers.watch, args=(stop,))
    here = Path.cwd()
    os.chdir(gateway.directory)
    watching.start()
    try:
        yield lambda: [w.number for w in workers._workers if w.process and w.process.poll() is None]
    finally:
        stop.set()
        watching.join(30)
        os.chdir(here)
        for _name, listening in sockets:
            listening.close()


def test_receivers_leave_a_quiet_gateway_and_come_back_with_an_instance(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    gateway = Gateway(tmp_path / "house")
    (tmp_path / "sent").mkdir()
    image = write(tmp_path / "sent", CT, 1)

    with receivers(gateway) as alive:
        eventually(gateway.answers, 60)
        eventually(lambda: alive() == [0, 1], 60)
        held = [RawScu(gateway.port, seconds=10.0) for _ in range(4)]
        for scu in held:
            assert scu.associate() is not None
        threading.Event().wait(QUIET + 1.5)
        for scu in held:  # those that leave serve whom they have
            scu.say(data(3, 3, an_echo()))
            kind, _answer = scu.hear()
            assert kind == P_DATA
            scu.__exit__()
        eventually(lambda: alive() == [0], 30)
        assert gateway.answers()

        assert StoreScu(gateway.port, [image]).wait() == {image: "Success"}
        eventually(lambda: alive() == [0, 1], 60)

    assert sum(read_state(gateway.data / "run" / "intake-0.json").values()) >= 1


def test_an_echo_keeps_nobody_awake():
    now, heard = [0.0], []
    quiet = Quiet(lambda event, /, **facts: heard.append((event, facts)), lambda: now[0])

    now[0] = 500.0
    quiet.hear("association_accepted", peer="pacs")
    now[0] = 700.0
    assert quiet.has_lasted(600.0)
    quiet.hear("instance_stored", size=1)

    assert not quiet.has_lasted(600.0)
    assert heard == [("association_accepted", {"peer": "pacs"}), ("instance_stored", {"size": 1})]
