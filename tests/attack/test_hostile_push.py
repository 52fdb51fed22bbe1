"""A coordinator that lies about what it keeps of an update, over the real wire: left in peace."""

import os
from hashlib import sha256
from time import sleep

import pytest

from gateway.desk import reports
from gateway.release.updates import ReleasedUpdate
from protos.v1 import job_pb2
from protos.v1.link_pb2 import HeldResponse, PushRequest, PushResponse
from tests.fakes.coordinator_server import FakeCoordinator
from tests.fakes.outbound import Site, until
from tests.fakes.releasing import shelve

pytestmark = [pytest.mark.attack, pytest.mark.flow]
UPDATE = os.urandom((1 << 20) + 5)
A_WHILE = 2.0
CALLS_AT_MOST = 60  # in that while: a gateway that does not wait makes a thousand


class Forgetful(FakeCoordinator):
    """Takes every chunk and keeps none of it, until it repents."""

    def __init__(self, says) -> None:
        super().__init__()
        self.says = says
        self.repents = False
        self.held = 0
        self.calls = 0

    def _push(self, requests, context):
        if self.repents:
            return super()._push(requests, context)
        self.calls += 1
        for raw in requests:
            self._hear("Push", raw)
        self.held = self.says(self.held)
        return PushResponse(held=self.held)

    def _held(self, raw, context):
        if self.repents:
            return super()._held(raw, context)
        self._hear("Held", raw)
        self.calls += 1
        return HeldResponse(held=self.held)


@pytest.mark.parametrize(
    "says",
    [
        pytest.param(lambda _: 0, id="nothing"),
        pytest.param(lambda held: (held or 1000) - 1, id="less each time"),
        pytest.param(lambda held: min(held + 1, 1000), id="a byte more each time"),
    ],
)
def test_whoever_keeps_nothing_of_a_push_does_not_keep_the_hospital_pushing(tmp_path, says):
    digest = sha256(UPDATE)
    with Forgetful(says) as coordinator:
        site = Site(tmp_path, coordinator)
        update = ReleasedUpdate("t1", digest.hexdigest(), len(UPDATE), 100.0, 1.0, 0.5)
        shelve(site.shelf, update, UPDATE)
        outcome = job_pb2.TaskOutcome(
            task_id="t1",
            state=job_pb2.TASK_STATE_RELEASED,
            update_digest=digest.digest(),
            update_size=len(UPDATE),
            weight=20,
            leakage_bits=100,
        )
        site.desk.reports.append(reports.of_outcome(outcome, "steward"))

        with site.linked() as link:
            coordinator.wait_for(lambda c: c.calls >= 2)
            before = coordinator.calls
            sleep(A_WHILE)
            calls, told = coordinator.calls - before, coordinator.reports()
            connected = link.is_connected
            coordinator.repents = True
            until(lambda: not site.desk.reports)

        assert 0 < calls < CALLS_AT_MOST  # it tries again, after a while each time
        assert connected  # questions and heartbeats go on
        assert told == []  # nobody hears of an update that is not there
        assert bytes(coordinator.pushed["t1"]) == UPDATE
        assert site.ledger.total_bytes() == coordinator.bytes_heard()
        assert all(PushRequest.FromString(r).chunk for n, r in coordinator.heard if n == "Push")
