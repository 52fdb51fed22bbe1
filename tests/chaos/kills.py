"""SIGKILL of the whole gateway at random moments, both lanes, and what is left of it."""

import random
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from pydicom import dcmread

from tests.chaos.images import CT, DEFLATED, LONG, LONG_HEADER, RISKY, uid, write
from tests.chaos.running import Gateway
from tests.chaos.senders import StoreScu

PER_ROUND = 24
SENDERS = 2
RESEND_AT_MOST = 60


class Sent:
    """Every file a sender was given, and which of them the gateway answered for."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self._directory = directory
        self._numbers = count(1)
        self.files: dict[str, Path] = {}
        self.acknowledged: set[str] = set()

    def fresh(self, kinds: Iterator[str]) -> list[Path]:
        made = []
        for kind in kinds:
            number = next(self._numbers)
            path = write(self._directory, kind, number, study=number // 7)
            self.files[uid(number)] = path
            made.append(path)
        return made

    def answered(self, answers: dict[Path, str]) -> None:
        """Remember who was told success; that is all a sender knows."""
        told = {path for path, answer in answers.items() if answer == "Success"}
        self.acknowledged |= {number for number, path in self.files.items() if path in told}


def kills(directory: Path, rounds: int, seed: int) -> dict[str, object]:
    """Kill and start again `rounds` times; return what was seen, or refuse what was lost."""
    dice = random.Random(seed)
    sent = Sent(directory / "sent")
    gateway = Gateway(directory / "house", header_limit_bytes=LONG_HEADER)
    extra_at_most = 0
    started = time.monotonic()
    try:
        gateway.start()
        for _ in range(rounds):
            plain = sent.fresh(dice.choice((CT, CT, CT, CT, LONG, RISKY)) for _ in range(PER_ROUND))
            deflated = sent.fresh(DEFLATED for _ in range(PER_ROUND // 4))
            scus = [StoreScu(gateway.port, plain), StoreScu(gateway.port, deflated, "-xd")]
            time.sleep(dice.choice((0.02, 0.1, 0.1, 0.3)) * dice.uniform(0.5, 2.0))
            _strike(gateway, dice)
            for scu in scus:
                sent.answered(scu.wait())
            extra_at_most += SENDERS
        gateway.wait_until_settled()
        extra = _judge(gateway, sent)
        assert extra <= extra_at_most, f"{extra} instances nobody was told of are held"
        _send_again(gateway, sent, dice)
        gateway.wait_until_settled()
        _judge(gateway, sent)
        gateway.stop()
    finally:
        gateway.destroy()
    return {
        "kills": rounds,
        "sent": len(sent.files),
        "acknowledged": len(sent.acknowledged),
        "held_unacknowledged": extra,
        "seconds": round(time.monotonic() - started, 1),
    }


def _strike(gateway: Gateway, dice: random.Random) -> None:
    """Kill everything, or once in a while the receivers alone, and have it running again."""
    if dice.random() < 0.2:
        gateway.kill_receivers()
        return  # the gateway itself starts them again
    gateway.kill()
    gateway.start()


def _judge(gateway: Gateway, sent: Sent) -> int:
    """Check the promises; return how many are held that nobody was told of."""
    held = gateway.holdings()
    lost = sent.acknowledged - held.uids
    assert not lost, f"{len(lost)} acknowledged instances are gone"
    assert held.uids <= sent.files.keys(), "something is held that nobody sent"
    held.require_each_once()
    for number in held.uids:
        pixels = bytes(dcmread(sent.files[number]).PixelData)
        if number in held.stored:
            assert held.pixels(number) == pixels, "stored pixels differ from those sent"
        else:
            assert pixels in held.sealed[number][0], "sealed pixels differ from those sent"
    left = [path for path in gateway.data.rglob("*") if _is_torn(path)]
    assert not left, f"a kill left {left[0].name} behind"
    return len(held.uids - sent.acknowledged)


def _is_torn(path: Path) -> bool:
    return path.parent.name in {"incoming", "quarantine", "arrivals"} and path.name.startswith(".")


def _send_again(gateway: Gateway, sent: Sent, dice: random.Random) -> None:
    """A PACS sends again what it is not sure of, and what it is sure of too."""
    files = dice.sample(sorted(sent.files.values()), min(RESEND_AT_MOST, len(sent.files)))
    plain = [path for path in files if not path.name.startswith(DEFLATED)]
    scus = [StoreScu(gateway.port, plain)]
    if deflated := [path for path in files if path not in plain]:
        scus.append(StoreScu(gateway.port, deflated, "-xd"))
    answers = {path: answer for scu in scus for path, answer in scu.wait().items()}
    assert set(answers.values()) == {"Success"}, "a resend was refused"
    assert len(answers) == len(files)
    sent.answered(answers)
