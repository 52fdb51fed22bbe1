"""To the byte: what passed a hospital's proxy, what was received, and what its ledger says."""

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from deploy.demo import proof
from deploy.demo.centre import Centre
from deploy.demo.failure import DemoFailed
from deploy.demo.hospital import Hospital
from deploy.demo.screen import Screen
from deploy.demo.wire import Seen, read_all

BALANCE_SECONDS = 30.0
POLL_SECONDS = 0.5
Contents = Counter[tuple[int, str]]  # size and SHA-256 of what is more than nothing


@dataclass(frozen=True, slots=True)
class Balance:
    """One hospital's bytes at one moment, and those of the framing around them."""

    wire: int
    received: int
    ledger: int
    framing: int
    messages: int
    strangers: int = 0  # messages on the wire that are on no ledger

    @property
    def is_even(self) -> bool:
        return self.wire == self.received == self.ledger and not self.strangers

    @property
    def could_be_cut(self) -> bool:
        """Say whether a crash explains it: a send attempt in the ledger that never arrived."""
        return self.received <= self.ledger and not self.strangers


def balance(
    screen: Screen,
    centre: Centre,
    hospitals: Sequence[Hospital],
    pool: ThreadPoolExecutor,
    *,
    undisturbed: bool,
) -> None:
    """Compare every hospital's wire and what was received from it with its ledger."""
    with screen.step("ledgers") as step:
        list(pool.map(lambda h: h.verify_ledger(), hospitals))
        found = list(
            pool.map(lambda h: weigh(centre.record, h, undisturbed=undisturbed), hospitals)
        )
        rows = {h.site: one for h, one in zip(hospitals, found, strict=True)}
        wire, messages = sum(one.wire for one in found), sum(one.messages for one in found)
        same = all(one.is_even for one in found)
        step.says = f"{wire:,} bytes in {messages:,} messages seen on the wire by the proxies; " + (
            "each hospital's ledger says the same:" if same else "the ledgers say:"
        )
    _show(screen, rows)
    if not same and (undisturbed or not all(one.could_be_cut for one in found)):
        raise DemoFailed(f"the wire, the received and the ledgers differ: {rows}")


def on_the_wire(hospital: Hospital) -> Seen:
    return read_all(hospital.proxy.said())


def _show(screen: Screen, rows: dict[str, Balance]) -> None:
    screen.table(
        ("hospital", "on the wire", "received", "in its ledger", "framing apart"),
        [
            [site, f"{one.wire:,}", f"{one.received:,}", f"{one.ledger:,}", f"{one.framing:,}"]
            for site, one in rows.items()
        ],
    )
    screen.keep("bytes", {site: asdict(one) for site, one in rows.items()})


def weigh(record: Path, hospital: Hospital, *, undisturbed: bool) -> Balance:
    """Compare the three: asked again while messages are on their way.

    Asking the ledger takes a while, and heartbeats go on: they agree if all that was seen before is
    in the ledger, and all that is in the ledger was seen after. What was received, to the byte, at
    some moment of that while.
    """
    deadline = time.monotonic() + BALANCE_SECONDS
    while True:
        early, arrived = on_the_wire(hospital), proof.received_totals(record, hospital.site)[-1]
        ledger = _written(hospital)
        seen, totals = on_the_wire(hospital), proof.received_totals(record, hospital.site)
        sent = sum(size * times for (size, _), times in ledger.items())
        strangers = (_contents(early) - ledger).total()
        even = arrived <= sent and sent in totals and ledger <= _contents(seen) and not seen.parts
        if even and not strangers:
            return Balance(sent, sent, sent, len(seen.framing), ledger.total())
        # A crash leaves what never arrived; a message that is on no ledger is seen at once.
        if not undisturbed or strangers or time.monotonic() > deadline:
            wire, framing = early.bytes_carried, len(early.framing)
            return Balance(wire, arrived, sent, framing, len(early.messages), strangers)
        time.sleep(POLL_SECONDS)


def _contents(seen: Seen) -> Contents:
    return Counter((len(m), sha256(m).hexdigest()) for m in seen.messages if m)


def _written(hospital: Hospital) -> Contents:
    # An entry of no bytes notes what left otherwise: a sum's part, in chunks under its mask.
    return Counter(entry for entry in hospital.ledger() if entry[0])
