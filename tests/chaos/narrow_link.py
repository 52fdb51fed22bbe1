"""A round over a narrow road that is cut again and again: the model goes, the update comes."""

import random
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from coordinator.link.record import frames
from protos.v1.job_pb2 import TASK_STATE_RELEASED
from protos.v1.link_pb2 import PushRequest
from tests.bench.federation.harness import Centre
from tests.bench.processes import free_port
from tests.bench.rounds import ours
from tests.chaos.narrow import Narrow, NarrowRelay

TWICE_AT_MOST = 0.01


def narrow_link(
    directory: Path, megabytes: float, road: Narrow, cuts: int, seed: int
) -> dict[str, object]:
    """Run one round of one hospital; return what arrived, how often, and how much of it twice."""
    values = int(megabytes * 250_000) // ours.TENSORS * ours.TENSORS
    size = 4 * values
    key, port, draw = Ed25519PrivateKey.generate(), free_port(), random.Random(seed)
    # The model comes, the update goes, the final model comes: cuts fall anywhere in these.
    cut_at = [int(draw.uniform(0.02, 2.9) * size) for _ in range(cuts)]
    relay = NarrowRelay(port, road, cut_at, seed)
    # The coordinator listens on the port it is reached at; hospitals are told of the road's.
    centre = Centre.found(
        directory / "centre",
        ours.SITES[:1],
        port,
        public_address=f'"127.0.0.1:{relay.port}"',
        reviews=0,
        quorum=1,
    )
    with centre.config.open("a", encoding="utf-8") as file:
        file.write(f'\n[record]\ndirectory = "{directory / "record"}"\n')
    centre.start()
    began = time.monotonic()
    try:
        with ours.hospitals(centre, directory, key, ours.SITES[:1]):
            job = ours.submitted(centre, directory, key, values, rounds=1)
            ours.wait(centre, job)
            seconds = time.monotonic() - began
            with centre.operator() as client:
                shown = client.job(job)
                model = sum(len(chunk) for chunk in client.result(job))
    finally:
        centre.stop()
        relay.stop()
    received = _received(directory / "record")
    update = max(offset for offset, _ in received)
    update += next(length for offset, length in received if offset == update)
    seen = {
        "megabytes": size / 1e6,
        "cuts": relay.cuts,
        "seconds": round(seconds, 1),
        "stage": shown.job.stage,
        "rounds lost": sum(
            part.state != TASK_STATE_RELEASED for part in shown.rounds if part.round == 1
        ),
        "received twice": round(sum(length for _, length in received) / update - 1, 5),
        "wire beyond the update": round(relay.up.passed / update - 1, 4),
        "wire beyond the models": round(relay.down.passed / size / 2 - 1, 4),
    }
    assert shown.job.stage == "finished", seen
    assert model >= size, seen
    assert not seen["rounds lost"], seen
    assert relay.cuts == cuts, seen
    assert float(str(seen["received twice"])) <= TWICE_AT_MOST, seen
    return seen


def _received(record: Path) -> list[tuple[int, int]]:
    """Return offset and length of every chunk the coordinator was handed, in order."""
    (file,) = record.glob("gateway.*.bin")
    return [
        (said.offset, len(said.chunk))
        for method, raw in frames(file)
        if method.endswith("/Push")
        for said in [PushRequest.FromString(raw)]
    ]
