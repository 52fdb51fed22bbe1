"""A seeded slice of `python -m tests.planting`: the real path, scored from outside."""

import random
import subprocess
from itertools import cycle
from struct import pack

import pytest

from gateway.line.encoding import silence_pydicom
from tests.chaos.running import Gateway
from tests.planting.clean import clean_pass
from tests.planting.files import real_files, written
from tests.planting.people import invent, mentions
from tests.planting.places import Planter, plant
from tests.planting.planted import planted_pass
from tests.planting.scoring import left_raw
from tests.planting.writing import choose

pytestmark = pytest.mark.attack
EVERY = 24


@pytest.mark.filterwarnings("ignore")
def test_nothing_that_was_planted_is_left_in_what_is_stored(tmp_path):
    silence_pydicom()

    seen = planted_pass(tmp_path, seed=20, every=EVERY)

    assert seen["left"] == {}
    assert seen["sound"]
    assert seen["totals"]["planted"] > 1000
    assert seen["totals"]["express"] > 3


@pytest.mark.filterwarnings("ignore")
def test_what_should_stay_stays_in_files_as_they_are(tmp_path):
    silence_pydicom()

    seen = clean_pass(tmp_path, every=EVERY)

    assert seen["totals"]["pixels identical"]
    assert "pixels changed" not in seen["totals"]
    assert "lost" not in seen["totals"]
    assert seen["uids with two pseudonyms"] == 0
    assert seen["patients with two shifts"] == 0


@pytest.mark.filterwarnings("ignore")
def test_preamble_file_meta_and_names_of_files_stay_outside_a_real_gateway(tmp_path):
    """By import and by storescu: what only a file has must not come with its dataset."""
    silence_pydicom()
    dice = random.Random(20)
    gateway, sent = Gateway(tmp_path / "house"), tmp_path / "sent"
    everything = []
    for number, name in enumerate(("CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm")):
        person, real = invent(dice), next(one for one in real_files() if one.name == name)
        charset, codec = choose(dice, person.pn + person.doctor)
        dataset, spelt = real.dataset(), mentions(person, dice)
        planter = Planter(person, codec, cycle(spelt), dice)
        plant(dataset, planter, dice, 0.3)
        planter.raw(dataset, 0x00080005, "CS", charset.encode())
        raw = written(dataset, real.syntax)
        folder = sent / f"{person.number} {person.mobile}"
        folder.mkdir(parents=True)
        (folder / f"{person.card}-{number}.dcm").write_bytes(part10(real, raw, spelt))
        everything += spelt

    gateway.start()
    try:
        gateway.command("import", sent)
        files = [str(path) for path in sorted(sent.rglob("*.dcm"))]
        subprocess.run(
            ["storescu", "-R", "-xs", "127.0.0.1", str(gateway.port), *files],
            capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        gateway.wait_until_settled()
    finally:
        gateway.stop()

    assert len(gateway.holdings().stored) >= 2
    written_down = [path for path in gateway.data.rglob("*") if path.is_file()]
    names = "\n".join(map(str, written_down)).encode()
    assert left_raw(names + gateway.log.read_bytes(), everything) == []
    for path in written_down:
        assert left_raw(path.read_bytes(), everything) == [], path


def part10(real, raw, spelt):
    """Return a file whose preamble and meta name the patient (PS3.10 7.1)."""
    names = [mention.text.encode("utf-8") for mention in spelt]
    meta = b""
    for element, vr, value in (
        (0x02, b"UI", real.sop_class.encode()),
        (0x03, b"UI", real.sop_uid.encode()),
        (0x10, b"UI", real.syntax.encode()), (0x12, b"UI", b"1.2.3.4"),
        (0x13, b"SH", names[0][:16]),
        (0x16, b"AE", names[1][:16]), (0x17, b"AE", names[2][:16]), (0x100, b"UI", b"1.2.3.5"),
        (0x102, b"OB", b"".join(names)),
    ):  # fmt: skip
        even = value + b"\0" * (len(value) % 2)
        size = b"\0\0" + pack("<I", len(even)) if vr == b"OB" else pack("<H", len(even))
        meta += pack("<HH", 2, element) + vr + size + even
    group = pack("<HH", 2, 0) + b"UL" + pack("<HI", 4, len(meta))
    return b"".join(names)[:128].ljust(128, b"\0") + b"DICM" + group + meta + raw
