"""Datasets with a few bytes changed, added or cut, through custody and the line to their end."""

import random
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from gateway.line.custody import VerdictKind
from gateway.line.worker import Line
from gateway.model import RealUID
from tests.fakes.custody_house import House, Instance, shipped, stream_engine
from tests.fakes.rejecting import note

SEEDS = (
    "CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "test-SR.dcm", "image_dfl.dcm",
    "MR_small_bigendian.dcm", "rtplan.dcm", "nested_priv_SQ.dcm", "SC_rgb_jpeg_gdcm.dcm",
    "waveform_ecg.dcm", "liver_1frame.dcm", "examples_ybr_color.dcm",
)  # fmt: skip
PIECES = (512, 16_000, 1 << 20)
HEAD = 3000  # most mutations fall where the structure is


def mutated_files(directory: Path, count: int, seed: int) -> dict[str, object]:
    """Give `count` of them to custody; what it answered for is there, and nothing broke."""
    dice, house = random.Random(seed), House(directory)
    seeds = [*map(shipped, SEEDS), note(shipped("CT_small.dcm"), uid="1.2.840.77.1000000")]
    verdicts: Counter[str] = Counter()
    index = house.index()
    line = house.line(index, stream=stream_engine())
    started = time.monotonic()
    for number in range(count):
        instance = mutated(renamed(dice.choice(seeds), number), dice)
        verdicts[house.take(instance, dice.choice(PIECES)).kind] += 1
        if number % 50 == 0:
            settle(line)
    settle(line)
    quarantined = house.vault.list()
    assert house.vault.incoming() == []
    assert index.counts()["instances"] == len(house.files()), "the index is not the files"
    assert not [e for e in quarantined if "does not open" in e.reason]
    for path in house.files():
        house.store.record_of(path)
    line.close()
    assert verdicts[VerdictKind.STORED] > count // 20
    return {
        "files": count,
        "verdicts": dict(sorted((str(kind), n) for kind, n in verdicts.items())),
        "stored": len(house.files()),
        "quarantined": len(quarantined),
        "reasons": sorted(faults(e.reason for e in quarantined)),
        "seconds": round(time.monotonic() - started, 1),
    }


def faults(reasons: Iterable[str]) -> set[str]:
    """Return those that say an engine failed in a way nobody foresaw."""
    return {reason for reason in reasons if reason.startswith("de-identification failed")}


def settle(line: Line) -> None:
    while line.run_once():
        pass


def renamed(instance: Instance, number: int) -> Instance:
    """Give it a UID of its own, as long as the one it had; deflated, it keeps that."""
    old = instance.arrival.sop_instance_uid
    new = RealUID(f"{old[: len(old) - 6]}{100_000 + number}"[-len(old) :])
    if old.encode() not in instance.raw:
        return instance
    arrival = replace(instance.arrival, sop_instance_uid=new)
    return Instance(arrival, instance.raw.replace(old.encode(), new.encode()))


def mutated(instance: Instance, dice: random.Random) -> Instance:
    changed = bytearray(instance.raw)
    for _ in range(dice.randint(1, 3)):
        near = min(len(changed), HEAD) if dice.random() < 0.8 else len(changed)
        at, kind = dice.randrange(near), dice.random()
        if kind < 0.8:
            changed[at] = dice.choice([0, 1, 2, 0x20, 0x5C, 0x7F, 0x80, 0xFF, dice.randrange(256)])
        elif kind < 0.86:
            del changed[at : at + dice.randint(1, 40)]
        elif kind < 0.92:
            changed[at:at] = dice.randbytes(dice.randint(1, 40))
        elif kind < 0.97:
            begin = dice.randrange(near)
            changed[at:at] = changed[begin : begin + dice.randint(8, 400)]
        else:
            del changed[dice.randrange(len(changed)) :]
        changed = changed or bytearray(b"\0")
    return Instance(instance.arrival, bytes(changed))
