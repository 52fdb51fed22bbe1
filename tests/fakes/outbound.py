"""A hospital's outbound rooms, gate, ledger and link, over a desk that keeps what it hears."""

from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic, sleep

from gateway.config import Federation, GatewayConfig
from gateway.link.enrol import enrol
from gateway.link.link import Link
from gateway.policy import Policy
from gateway.release.gate import Gate
from gateway.release.ledger import Ledger
from gateway.release.updates import UpdateShelf
from tests.fakes.desk_line import FakeDesk

QUICK = Federation(heartbeat_seconds=0.1, reconnect_seconds_at_most=0.5)


class Site:
    """One enrolled hospital's outbound rooms over a fake desk."""

    def __init__(self, directory, coordinator) -> None:
        self.config = GatewayConfig(site="hospital-a", data=directory)
        self.ledger = Ledger.open(self.config.ledger_file)
        self.shelf = UpdateShelf(self.config.desk_dir / "updates")
        self.gate = Gate(Policy, self.ledger, self.shelf, ())
        self.desk = FakeDesk(self.config.desk_dir / "objects")
        self.credentials = enrol(
            coordinator.invite("hospital-a"), self.config, self.gate, "1.0", "admin"
        )
        self.status_file = directory / "link.json"

    @contextmanager
    def linked(self, settings=QUICK, **standing):
        link = Link(
            self.credentials, settings, self.gate, self.desk, self.status_file, "1.0", **standing
        )
        stop = Event()
        runs = Thread(target=link.run, args=(stop,))
        runs.start()
        try:
            yield link
        finally:
            stop.set()
            runs.join(10)
            assert not runs.is_alive()


def until(claim, seconds=10.0):
    deadline = monotonic() + seconds
    while not claim():
        assert monotonic() < deadline, "waited in vain"
        sleep(0.01)
