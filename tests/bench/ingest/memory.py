"""How much memory a receiver takes when what arrives is huge."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom import _config as config

from tests.bench.ingest import sets
from tests.bench.ingest.pushing import CALLING_AE, PushFailed, push
from tests.bench.ingest.subjects import Orthanc, Radfed, Storescp, Subject
from tests.bench.processes import NotMeasured, wait_for
from tests.bench.registry import Terms
from tests.bench.rows import Figures, Goal

HUGE = "memory: a multi-frame of 2 GB"
GROUPS = "memory: 8 x 60 MB of functional groups"
MEASURE = "peak, receiving process"
GOALS = [Goal(case, "radfed", MEASURE, at_most=80) for case in (HUGE, GROUPS)]
# dcmtk reads the groups item by item: both peers, and dcmsend, take gigabytes and minutes for them.
SUBJECTS = {HUGE: (Radfed, Orthanc, Storescp), GROUPS: (Radfed,)}
FRAMES, SIDE = 4096, 512  # 2 GiB of 16-bit pixels
GROUP_BYTES = 60 << 20


def measure(terms: Terms, figures: Figures) -> None:
    """Push what no memory should hold, each time to a subject started for it alone."""
    made = {HUGE: [_huge(terms.directory)], GROUPS: _groups(terms.directory)}
    for case, files in made.items():
        if not terms.runs(case):
            continue
        for kind in SUBJECTS[case]:
            if terms.wants(kind.name):
                terms.say(f"{case}: {kind.name}")
                _one(case, files, kind(), terms, figures)


def _one(
    case: str, files: Sequence[Path], subject: Subject, terms: Terms, figures: Figures
) -> None:
    try:
        subject.start(terms.directory / f"memory-{subject.name}")
    except NotMeasured as why:
        terms.say(f"not measured: {subject.name}: {why}")
        return
    try:
        subject.wait()
        began = time.monotonic()
        if len(files) == 1:
            push(files, subject.port, subject.ae_title, associations=1, nagle=False)
        else:
            _send_unread(files, subject)
        figures.add(case, subject.name, "push", "s", time.monotonic() - began)
        peak = subject.tree.largest_mb(subject.receiver)
        figures.add(case, subject.name, MEASURE, "MB", peak)
        wait_for(lambda: subject.arrived() >= len(files), 300, "every file arrives")
    except (NotMeasured, PushFailed, TimeoutError) as why:
        terms.say(f"[red]{case}: {subject.name}: {why}")
    finally:
        subject.stop()


def _send_unread(files: Sequence[Path], subject: Subject) -> None:
    """Send each file on an association of its own, as bytes."""
    config.STORE_SEND_CHUNKED_DATASET = True
    with ThreadPoolExecutor(len(files)) as senders:
        statuses = list(senders.map(partial(_send_one, subject), files))
    if any(statuses):
        raise PushFailed(f"statuses {', '.join(f'0x{status:04X}' for status in statuses)}")


def _send_one(subject: Subject, path: Path) -> int:
    ae = AE(CALLING_AE)
    ae.add_requested_context(EnhancedCTImageStorage, ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", subject.port, ae_title=subject.ae_title)
    if not association.is_established:
        raise PushFailed("the association was refused")
    try:
        return int(association.send_c_store(path).get("Status", 0xFFFF))
    finally:
        association.release()


def _huge(directory: Path) -> Path:
    """Write a sparse file: a real header and 2 GiB of zeros."""
    dataset = sets._enhanced(frames=2)
    sets._add_pixels(dataset, SIDE, SIDE)
    dataset.NumberOfFrames = FRAMES
    encoded = sets._encode(dataset)
    size = SIDE * SIDE * 2
    head, length = encoded[: -size - 4], FRAMES * size
    path = directory / "huge.dcm"
    with path.open("wb") as file:
        file.write(head + length.to_bytes(4, "little"))
        file.seek(length - 1, os.SEEK_CUR)
        file.write(b"\0")
    return path


def _groups(directory: Path) -> list[Path]:
    """Write eight objects without pixels whose per-frame groups fill 60 MB."""
    dataset = sets._header(EnhancedCTImageStorage, "CT")
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.PerFrameFunctionalGroupsSequence = sets.Sequence([sets._frame(1)])
    encoded = sets._encode(dataset)
    tag = bytes.fromhex("00523092")  # (5200,9230), explicit VR SQ with a length
    at = encoded.index(tag) + len(tag)
    item = encoded[at + 8 :]
    count = GROUP_BYTES // len(item)
    grown = encoded[: at + 4] + (count * len(item)).to_bytes(4, "little") + item * count
    files = []
    for number in range(8):
        path = directory / f"groups{number}.dcm"
        unlike = sets.INSTANCE[:-1] + str(number)
        path.write_bytes(grown.replace(sets.INSTANCE.encode(), unlike.encode(), 2))
        files.append(path)
    return files
