"""Pull the plug at every moment of a recorded run, and ask what is left of what was acknowledged.

The run is the real gateway under strace: both lanes, the line, and a SIGKILL in the middle. Its
record is replayed into a model file system (tests/fakes/power_cut.py). At every moment the images a
power cut may leave are looked into; at some of them a gateway is begun over the image itself.
"""

import os
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from itertools import takewhile
from pathlib import Path

from gateway.app.build import build_line, build_secret, build_store
from gateway.audit import AuditTrail
from gateway.config import GatewayConfig
from gateway.errors import IntegrityFault
from gateway.keys import Purpose
from gateway.store.part10 import parse_head
from gateway.vault.cipher import MAGIC, WRAPPED_KEY_AT, WRAPPED_KEY_BYTES, Decryptor
from gateway.vault.entry import Kept
from tests.chaos.images import CT, DEFLATED, LONG, LONG_HEADER, RISKY, write
from tests.chaos.running import Gateway, Holdings
from tests.chaos.senders import StoreScu
from tests.fakes.power_cut import NOTHING, Disk, Survives
from tests.fakes.power_cut_trace import strace

PASSES = 200
SOP_INSTANCE = b"\0\0\0\x10"  # (0000,1000) of a response
SUCCESS_STATUS = b"\0\0\0\x09\2\0\0\0\0\0"  # (0000,0900) = 0x0000
STORE_RESPONSE = b"\0\0\0\1\2\0\0\0\1\x80"  # (0000,0100) = 0x8001


def record(directory: Path, per_lane: int, seed: int) -> tuple[Gateway, Disk]:
    """Record a run: two senders, a kill while they send, a start, and the same senders again."""
    dice = random.Random(seed)
    log = directory / "strace.log"
    gateway = Gateway(directory / "house", strace(log), header_limit_bytes=LONG_HEADER)
    disk = Disk(gateway.data, log)
    sent = directory / "sent"
    sent.mkdir()
    kinds = [(CT, RISKY, CT, LONG)[n % 4] for n in range(per_lane)]
    plain = [write(sent, kind, 1 + n, study=n % 4) for n, kind in enumerate(kinds)]
    deflated = [write(sent, DEFLATED, 1001 + n, study=n % 4) for n in range(per_lane // 2)]
    try:
        gateway.start()
        for last in (False, True):
            scus = [StoreScu(gateway.port, plain), StoreScu(gateway.port, deflated, "-xd")]
            if last:
                gateway_settles(gateway, scus)
            else:
                time.sleep(dice.uniform(0.15, 0.4))
                gateway.kill()
                gateway.start()
            for scu in scus:
                scu.wait()
        gateway.kill()
    finally:
        gateway.destroy()
    return gateway, disk.replay()


def gateway_settles(gateway: Gateway, scus: list[StoreScu]) -> None:
    answers = [answer for scu in scus for answer in scu.wait().values()]
    assert set(answers) == {"Success"}
    gateway.wait_until_settled()


class Judge:
    """Knows which bytes are whole instances of this gateway, and which instance each is."""

    def __init__(self, config: GatewayConfig) -> None:
        secret = build_secret(config)
        self._seal = build_store(config, secret).seal
        self._vault_key = secret.subkey(Purpose.VAULT)
        self._known: dict[bytes, str | None] = {}

    def whose(self, content: bytes) -> str | None:
        """Return the original UID of a file that is complete to its last byte, else None."""
        digest = sha256(content).digest()
        if digest not in self._known:
            self._known[digest] = None
            with suppress(IntegrityFault):
                read = self._sealed if content.startswith(MAGIC) else self._stored
                self._known[digest] = read(content)
        return self._known[digest]

    def _stored(self, content: bytes) -> str | None:
        head = parse_head(content)
        record = self._seal.open(head.sealed, head.sop_uid)
        pixels = self._seal.pixel_print()
        pixels.update(content[-2 * 128 * 128 :])
        return record.original.sop_uid if pixels.finalize().hex() == record.pixels else None

    def _sealed(self, content: bytes) -> str | None:
        descriptor = os.memfd_create("entry")
        try:
            os.write(descriptor, content)
            decryptor = Decryptor(descriptor, self._vault_key)
            kept = Kept.of(decryptor.label())
            received = self._seal.received_print()
            for chunk in decryptor.chunks():
                received.update(chunk)
        finally:
            os.close(descriptor)
        return kept.arrival.sop_instance_uid if received.digest().hex() == kept.received else None


def look_at_every_moment(disk: Disk, judge: Judge, seed: int) -> dict[str, int]:
    """At every moment: every acknowledged instance is whole somewhere, and nothing torn shows."""
    dice = random.Random(seed)
    acknowledged = list(acknowledgements(disk))
    cuts = sorted({*disk.moments, *(line for line, _ in acknowledged)})
    for cut in cuts:
        told = {uid for line, uid in acknowledged if line <= cut}
        for survives in (NOTHING, lambda: dice.random() < 0.5):
            there = _whole(disk, judge, cut, survives, dice)
            assert told <= there, f"line {cut}: {len(told - there)} acknowledged instances are gone"
    return {"moments": len(cuts), "acknowledged": len({uid for _, uid in acknowledged})}


def _whole(disk: Disk, judge: Judge, cut: int, survives: Survives, dice: random.Random) -> set[str]:
    there = set()
    for path, inode in disk.files(cut, survives).items():
        if path.startswith(("store/", "vault/")) and path.endswith((".dcm", ".sealed", ".cleared")):
            content = inode.content(cut, survives, dice)
            uid = judge.whose(content)
            assert uid or is_erased(content), f"line {cut}: {path} is torn"
            there.add(uid or "")
    return there


def is_erased(content: bytes) -> bool:
    """Say whether an entry's key was destroyed: its name may outlive it, it says nothing."""
    key = content[WRAPPED_KEY_AT:][:WRAPPED_KEY_BYTES]
    return content.startswith(MAGIC) and key == bytes(WRAPPED_KEY_BYTES)


def acknowledgements(disk: Disk) -> Iterator[tuple[int, str]]:
    """Return when success went out to a sender, and for which instance."""
    for line, said in disk.sent:
        if said[:1] == b"\4" and STORE_RESPONSE in said and SUCCESS_STATUS in said:
            _, _, rest = said.rpartition(SOP_INSTANCE)  # the last: a message may be the 16th
            length = int.from_bytes(rest[:4], "little")
            yield line, rest[4 : 4 + length].rstrip(b"\0").decode("ascii")


def begin_again(
    gateway: Gateway, disk: Disk, judge: Judge, directory: Path, cuts: int, seed: int
) -> int:
    """Begin a gateway's line over what a power cut left, at `cuts` seeded moments."""
    dice = random.Random(seed)
    acknowledged = list(acknowledgements(disk))
    first = acknowledged[0][0]
    moments = [moment for moment in disk.moments if moment >= first]
    for number in range(cuts):
        cut = dice.choice(moments)
        kept = dice.choice((0.0, 0.5, 1.0))
        survives: Survives = lambda kept=kept: dice.random() < kept  # noqa: E731
        place = directory / f"cut-{number}"
        _lay_out(disk.image(cut, survives, dice), place)
        told = {uid for line, uid in acknowledged if line <= cut}
        held = _recovered(gateway.config.model_copy(update={"data": place}))
        assert told <= held.uids, f"line {cut}: an acknowledged instance was not recovered"
        held.require_each_once()
        for uid, paths in held.stored.items():
            assert judge.whose(paths[0].read_bytes()) == uid, f"line {cut}: a stored file is torn"
        shutil.rmtree(place)
    return cuts


def _lay_out(image: dict[str, bytes], place: Path) -> None:
    for path, content in image.items():
        if not path.endswith("-shm"):  # shared memory: nothing of it outlives the power
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(content)
    for path in (place / "keys").iterdir():
        path.chmod(0o600)


def _recovered(config: GatewayConfig) -> Holdings:
    """Do what the next start does, and look at what there is."""
    audit = AuditTrail.open(config.audit_file)
    audit.verify()
    line = build_line(config, audit)
    try:
        passes = sum(1 for _ in takewhile(bool, (line.run_once() for _ in range(PASSES))))
        assert passes < PASSES, "the line does not come to an end"
    finally:
        line.close()
        audit.close()
    return Holdings.of(config)


def power_cuts(directory: Path, per_lane: int, cuts: int, seed: int) -> dict[str, object]:
    gateway, disk = record(directory, per_lane, seed)
    judge = Judge(gateway.config)
    seen: dict[str, object] = dict(look_at_every_moment(disk, judge, seed))
    return seen | {"begun_again": begin_again(gateway, disk, judge, directory, cuts, seed)}
