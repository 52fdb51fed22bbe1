"""A test's hospital with its desk and its link running, as the gateway runs them."""

from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic, sleep

from gateway.config import Federation, GatewayConfig
from gateway.link.enrol import enrol
from gateway.link.link import Link

QUICK = Federation(heartbeat_seconds=1.0, reconnect_seconds_at_most=1.0)


@contextmanager
def running(hospital, site, token, settings=QUICK):
    """Enrol a hospital and run its desk and link, as the gateway does."""
    config = GatewayConfig(site=site, data=hospital.directory)
    credentials = enrol(token, config, hospital.gate, "1.0", "admin")
    link = Link(
        credentials, settings, hospital.gate, hospital.desk, hospital.directory / "link.json", "1.0"
    )
    stop = Event()
    rooms = [Thread(target=room.run, args=(stop,)) for room in (hospital.desk, link)]
    for room in rooms:
        room.start()
    try:
        yield link
    finally:
        stop.set()
        for room in rooms:
            room.join(15)


def wait(claim, seconds=20.0):
    deadline = monotonic() + seconds
    while not claim():
        assert monotonic() < deadline, "waited in vain"
        sleep(0.1)
