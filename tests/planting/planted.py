"""The planted pass: every file with an invented patient in hundreds of places of it."""

import random
from collections import Counter
from itertools import cycle
from pathlib import Path

from pydicom import dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.tag import BaseTag

from tests.planting.files import Real, real_files, written
from tests.planting.house import Fate, House
from tests.planting.people import invent, mentions
from tests.planting.pixels import plant_pixels, spare_text
from tests.planting.places import MEDICINE, Planter, plant
from tests.planting.scoring import SPEAKING, left_decoded, left_raw
from tests.planting.writing import choose


def planted_pass(base: Path, seed: int, every: int = 1, share: float = 1.0) -> dict[str, object]:
    """Plant, store, score; `sound` where nothing is left and every original is accounted for."""
    totals: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    left: Counter[str] = Counter()
    destroyed: Counter[str] = Counter()
    house = House(base)
    everybody: list = []
    try:
        for number, real in enumerate(real_files()[seed % every :: every]):
            dice = random.Random(f"{seed} {real.name} {number}")
            person, planter, fate = _send(house, real, dice, number, share)
            if planter is None:
                totals["unreadable"] += 1
                continue
            totals["files"] += 1
            totals[fate.lane] += 1
            totals["planted"] += len(planter.seen)
            spelt = [plant.mention for plant in planter.seen]
            everybody.append((person, spelt))
            if fate.lane in ("quarantine", "rejected", "lost"):
                reasons[f"{fate.lane}: {fate.reason}"] += 1
            if fate.file is None:
                totals["planted in quarantine"] += len(planter.seen)
                continue
            _score(fate, person, spelt, totals, left, real)
            destroyed.update(_destroyed(fate, planter))
        _score_around(house, everybody, left)
    finally:
        house.close()
    return {
        "totals": dict(totals),
        "left": dict(left.most_common()),
        "medicine destroyed": dict(destroyed.most_common(20)),
        "reasons": dict(reasons.most_common()),
        "engines": dict(house.counted),
        "sound": not left and not totals["lost"],
    }


def _send(house: House, real: Real, dice: random.Random, number: int, share: float):
    person = invent(dice)
    try:
        dataset = real.dataset()
        charset, codec = choose(dice, person.pn + person.doctor)
        planter = Planter(person, codec, cycle(mentions(person, dice)), dice)
        plant(dataset, planter, dice, share)
        plant_pixels(dataset, real, planter, dice)
        if charset:
            planter.raw(dataset, 0x00080005, "CS", charset.encode())
        else:
            dataset._dict.pop(BaseTag(0x00080005), None)
        uid = f"1.2.826.0.1.3680043.8.498.7.{number}"
        planter.raw(dataset, 0x00080018, "UI", uid.encode())
        raw = written(dataset, real.syntax)
    except Exception:  # noqa: BLE001 - damaged on purpose: the untouched pass has it as it is
        return person, None, None
    chunk = dice.choice([1 << 20, 1 << 16, 4000])
    return (
        person,
        planter,
        house.take(str(dataset.get("SOPClassUID", "")), uid, real.syntax, raw, chunk),
    )


def _score(fate: Fate, person, spelt, totals: Counter[str], left: Counter[str], real: Real) -> None:
    for leak in left_decoded(fate.file, person):
        totals["left decoded"] += 1
        left[f"{leak.secret.kind} at {leak.where} in {real.name}"] += 1
    raw = fate.file.read_bytes()
    for found in left_raw(raw, spelt) + left_raw(spare_text(raw[len(raw) % 2 :]), spelt):
        totals["left raw"] += 1
        left[f"raw {found!r} in {real.name}"] += 1


def _score_around(house: House, everybody: list, left: Counter[str]) -> None:
    """Look into all else in the clear: names of files, index, audit (the vault is sealed)."""
    around = (
        "\n".join(str(path) for path in house.base.rglob("*")).encode()
        + repr(house.trail.events).encode()
    )
    around += b"".join(path.read_bytes() for path in house.base.glob("index.db*"))
    for _, spelt in everybody:
        for found in left_raw(around, spelt):
            left[f"outside the files: {found!r}"] += 1


def _destroyed(fate: Fate, planter: Planter) -> list[str]:
    """Say which kept attributes lost medicine that stood beside an identity."""
    after = dcmread(fate.file, force=True, stop_before_pixels=True)
    return [
        f"{phrase} at {tag:08X} of {text!r}: {after[tag].value!r}"
        for tag, text in planter.spoken.items()
        if tag in after and keyword_for_tag(tag) in SPEAKING
        for phrase in MEDICINE
        if phrase in text and phrase not in str(after[tag].value)
    ]
