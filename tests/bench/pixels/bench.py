"""Text drawn into real images, through custody and line: what can still be read of it.

Per class: the share of drawn lines that two readers can still read in what was stored, files with a
change far from any text, clean images changed, quarantine, and CPU for each image.
"""

import random
import resource
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from gateway.app.pixel_room import PixelRoom
from gateway.config import PixelLimits
from gateway.deid.pixel_frames import Box, Form, Frames
from gateway.deid.pixel_rules import PixelSettings
from gateway.deid.pixel_views import views
from gateway.line.encoding import encode, silence_pydicom, syntax_of
from gateway.line.pixel_look import PixelLook, is_installed
from gateway.line.text_reader import TextReader
from gateway.model import Arrival, RealUID
from tests.bench.pixels.judging import Judge, changed_far
from tests.bench.pixels.planting import Planted, missing_fonts, plant
from tests.bench.registry import Terms
from tests.bench.rows import Row
from tests.fakes.custody_house import House, Instance

REAL = Path("../shared/data/dicom")
STORAGE = "1.2.840.10008.5.1.4.1.1."
# Case: SOP class, what BurnedInAnnotation says, files of the wheel or of the real collection, and
# whether they are free of text (then they are sent as they are, too).
CASES = {
    "US": (STORAGE + "6.1", None, [
        "examples_rgb_color.dcm", "examples_palette.dcm", "examples_jpeg2k.dcm", "125_US.dcm",
        "128_US.dcm", "130_US.dcm", "131_US.dcm", "132_US.dcm",
    ]),
    "US says NO": (STORAGE + "6.1", "NO", ["129_US.dcm", "132_US.dcm"]),
    "XA": (STORAGE + "12.1", None, [
        "060_MR.dcm", "086_MR.dcm", "089_MR.dcm", "052_MR.dcm", "013_CT.dcm", "039_CT.dcm",
        "041_CT.dcm", "053_MR.dcm", "097_MR.dcm", "examples_overlay.dcm",
    ]),
    "photograph": (STORAGE + "77.1.4", None, [
        "003_NONE.dcm", "102_OT.dcm", "SC_rgb_jpeg_dcmd.dcm",
    ]),
    "SC cleaned": (STORAGE + "7", None, [
        "image_dfl.dcm", "003_NONE.dcm", "102_OT.dcm", "106_OT.dcm", "033_CT.dcm",
        "SC_rgb_rle_16bit.dcm",
    ]),
    "CR": (STORAGE + "1", "YES", ["008_CR.dcm"]),
    "DX": (STORAGE + "1.1", "YES", ["097_MR.dcm", "106_OT.dcm"]),
    "CT": (STORAGE + "2", "YES", [
        "013_CT.dcm", "031_CT.dcm", "039_CT.dcm", "045_CT.dcm", "693_J2KI.dcm",
    ]),
    "MR": (STORAGE + "4", "YES", [
        "053_MR.dcm", "086_MR.dcm", "089_MR.dcm", "099_MR.dcm", "052_MR.dcm",
    ]),
}  # fmt: skip
# Free of text, as people see them: what is changed in these is a mistake.
CLEAN = frozenset({
    "132_US.dcm", "060_MR.dcm", "086_MR.dcm", "089_MR.dcm", "052_MR.dcm", "013_CT.dcm",
    "039_CT.dcm", "041_CT.dcm", "053_MR.dcm", "097_MR.dcm", "examples_overlay.dcm", "003_NONE.dcm",
    "SC_rgb_jpeg_dcmd.dcm", "099_MR.dcm", "045_CT.dcm",
})  # fmt: skip
GREY_SYNTAXES = (ExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless)
COLOUR_SYNTAXES = (ExplicitVRLittleEndian, RLELossless, JPEGBaseline8Bit)


@dataclass
class Tally:
    files: int = 0
    stored: int = 0
    lines: int = 0
    kept_lines: int = 0
    legible: int = 0
    far: int = 0
    clean: int = 0
    clean_changed: int = 0
    clean_quarantined: int = 0
    seconds: float = 0.0


@dataclass
class Sent:
    case: str
    instance: Instance
    before: np.ndarray  # the frames as they will be decoded
    planted: list[Planted]
    known: list[Box]  # text that was there already


def run(terms: Terms) -> list[Row]:
    if not is_installed():
        raise SystemExit("text recognition is not installed: pip install -e '.[ocr]'")
    if fault := missing_fonts():
        raise SystemExit(fault)
    silence_pydicom()
    judge = Judge()
    if judge.tesseract is None:
        terms.say("tesseract is missing: judged by rapidocr alone (apt-get install tesseract-ocr)")
    tallies: dict[str, Tally] = defaultdict(Tally)
    room = PixelRoom(PixelLimits(seconds_at_most=900.0))
    try:
        for case in CASES:
            if terms.runs(case):
                _run_case(case, terms, judge, room, tallies[case])
    finally:
        room.close()
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    rows = [row for case, tally in tallies.items() for row in _rows(case, tally)]
    return [*rows, _row("all", "peak memory of the looking process", "MiB", peak)]


def _run_case(case: str, terms: Terms, judge: Judge, room: PixelRoom, tally: Tally) -> None:
    names = CASES[case][2][: 1 if terms.quick else None]
    for name in names:
        path = _path(name)
        if path is None:
            terms.say(f"{name} is missing, and left out")
            continue
        seeds = range(1 if terms.quick else terms.rounds)
        for seed in [*seeds, *([-1] if name in CLEAN else [])]:
            chance = random.Random(f"{case} {name} {seed}")
            sent = _make(case, path, 0 if seed < 0 else 3, chance, judge)
            if sent is None:
                continue
            _send(sent, terms, judge, room, tally)
            terms.say(f"{case} {name} {seed}: {tally}")


def _send(sent: Sent, terms: Terms, judge: Judge, room: PixelRoom, tally: Tally) -> None:
    house = House(terms.directory / f"{sent.case}-{tally.files + tally.clean}".replace(" ", "-"))
    house.take(sent.instance)
    settings = PixelSettings(screens="clean")
    line = house.line(house.index(), pixel_look=PixelLook(settings, room))
    began = time.perf_counter()
    while line.run_once():
        pass
    line.close()
    tally.seconds += time.perf_counter() - began
    files = house.files()
    if sent.planted:
        tally.files += 1
        tally.lines += len(sent.planted)
    else:
        tally.clean += 1
    if not files:
        for entry in house.vault.list():
            terms.say(f"   quarantined: {entry.reason}")
        tally.clean_quarantined += not sent.planted
        return
    kept = dcmread(files[0])
    syntax = kept.file_meta.TransferSyntaxUID
    frames = Frames(kept, syntax, Form.of(kept))
    after = np.stack([frame.copy() for frame in frames])
    boxes = [one.box for one in sent.planted] + sent.known
    far = changed_far(sent.before, after, boxes)
    if not sent.planted:
        tally.clean_changed += bool(far)
        if far:
            terms.say(f"   clean, and changed: {far}")
        return
    tally.stored += 1
    tally.far += bool(far)
    if far:
        terms.say(f"   changed far from any text: {far}")
    tally.kept_lines += len(sent.planted)
    pictures = views(frames.frame(0), frames.form, frames.photometric, frames.lut)
    for one in sent.planted:
        if judge.is_legible(one.text, one.box, pictures):
            tally.legible += 1
            terms.say(f"   legible: {one.text!r} {one.size} px at {one.box}")


def _make(case: str, path: Path, lines: int, chance: random.Random, judge: Judge) -> Sent | None:
    sop_class, burned, _ = CASES[case]
    dataset = dcmread(path)
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    frames, planted = plant(dataset, syntax, lines, chance)
    pictures = views(frames.frame(0), frames.form, frames.photometric, frames.lut)
    planted = [one for one in planted if judge.is_legible(one.text, one.box, pictures)]
    if lines and not planted:
        return None
    known = [] if path.name in CLEAN else _text_of(dcmread(path), judge)
    if not frames.native or lines:
        syntax = _stored(dataset, frames, chance, lossy_allowed=bool(lines))
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, generate_uid()
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        if not dataset.get(keyword):
            setattr(dataset, keyword, generate_uid())
    if burned is None or not lines:
        burned = "NO" if burned == "NO" else None
    if burned is None:
        if "BurnedInAnnotation" in dataset:
            del dataset.BurnedInAnnotation
    else:
        dataset.BurnedInAnnotation = burned
    encoding = syntax_of(syntax).encoding
    raw = encode(_plain(dataset), encoding)
    sop_uid = RealUID(str(dataset.SOPInstanceUID))
    arrival = Arrival(sop_class, sop_uid, syntax, "PACS", "RADFED")
    again = Frames(dataset, syntax, Form.of(dataset))
    before = np.stack([frame.copy() for frame in again])
    return Sent(case, Instance(arrival, raw), before, planted, known)


def _plain(dataset: Dataset) -> Dataset:
    plain = Dataset()
    plain.update({element.tag: element for element in dataset if element.tag.group > 2})
    return plain


def _text_of(dataset: Dataset, judge: Judge) -> list[Box]:
    """Find what the device itself wrote: blanking it is right."""
    frames = Frames(dataset, dataset.file_meta.TransferSyntaxUID, Form.of(dataset))
    pictures = [
        picture
        for number in sorted({0, frames.form.frames // 2, frames.form.frames - 1})
        for picture in views(frames.frame(number), frames.form, frames.photometric, frames.lut)
    ]
    reader: TextReader = judge._reader
    return [
        reading.box
        for picture in pictures
        for closely in (False, True)
        for reading in reader.read(picture, closely=closely)
    ]


def _stored(dataset: Dataset, frames: Frames, chance: random.Random, *, lossy_allowed: bool) -> str:
    """Store the frames with what was drawn, native or compressed anew."""
    was_big = dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
    dataset.PhotometricInterpretation = frames.photometric
    if was_big:
        dataset.PixelData = frames.bytes()
        return str(ExplicitVRBigEndian)
    form = frames.form
    if form.samples == 3:
        dataset.PlanarConfiguration = form.planar if frames.native else 0
    dataset.PixelData = frames.bytes()
    dataset["PixelData"].VR = "OW" if form.allocated > 8 else "OB"
    dataset["PixelData"].is_undefined_length = False
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    wanted = chance.choice(COLOUR_SYNTAXES if form.samples == 3 else GREY_SYNTAXES)
    if form.photometric == "PALETTE COLOR" and wanted in (JPEG2000Lossless, JPEGLSLossless):
        wanted = RLELossless
    try:
        if wanted == JPEGBaseline8Bit:
            if not lossy_allowed or form.allocated != 8 or frames.photometric != "RGB":
                return str(ExplicitVRLittleEndian)
            return _as_jpeg(dataset, frames)
        if wanted != ExplicitVRLittleEndian:
            dataset.compress(wanted, generate_instance_uid=False)
    except (RuntimeError, ValueError, AttributeError):  # no codec for it
        return str(ExplicitVRLittleEndian)
    return str(wanted)


def _as_jpeg(dataset: Dataset, frames: Frames) -> str:
    pieces = []
    for frame in frames:
        stream = BytesIO()
        Image.fromarray(np.ascontiguousarray(frame)).save(stream, "JPEG", quality=90)
        pieces.append(stream.getvalue() + b"\0" * (len(stream.getvalue()) % 2))
    dataset.PixelData = encapsulate(pieces)
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    dataset.PlanarConfiguration = 0
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return str(JPEGBaseline8Bit)


def _path(name: str) -> Path | None:
    real = REAL / name
    if real.exists():
        return real
    found = get_testdata_file(name, download=False)
    return None if found is None else Path(str(found))


def _rows(case: str, tally: Tally) -> list[Row]:
    def percent(part: int, whole: int) -> float:
        return 100 * part / whole if whole else 0.0

    legible = percent(tally.legible, tally.lines)
    rows = [
        _row(case, "lines drawn", "", tally.lines),
        _goal(_row(case, "lines still legible in what is stored", "%", legible), 4),
        _goal(_row(case, "files changed far from text", "%", percent(tally.far, tally.stored)), 0),
        _row(case, "files quarantined", "%", percent(tally.files - tally.stored, tally.files)),
        _row(case, "wall time for a file", "s", tally.seconds / max(1, tally.files + tally.clean)),
    ]
    if tally.clean:
        changed = percent(tally.clean_changed, tally.clean)
        kept_back = percent(tally.clean_quarantined, tally.clean)
        rows += [
            _goal(_row(case, "clean images changed", "%", changed), 2),
            _row(case, "clean images quarantined", "%", kept_back),
        ]
    return rows


def _row(case: str, measure: str, unit: str, value: float) -> Row:
    return Row("pixels", case, "radfed", measure, unit, value, (value,))


def _goal(row: Row, at_most: float) -> Row:
    return replace(row, goal=f"<= {at_most:g}", met=row.median <= at_most)
