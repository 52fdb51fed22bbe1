"""A frozen cohort: de-identified files without sealed records, and the labels of one split."""

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomIO
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import write_file_meta_info
from pydicom.tag import Tag

from gateway.errors import IntegrityFault
from gateway.model import Pseudonym, PseudoUID
from gateway.sandbox import merkle
from gateway.sandbox.rules import Split

PREAMBLE = bytes(128) + b"DICM"
GROUP_LENGTH_BYTES = 12  # (0002,0000) UL, its value says where the dataset begins (PS3.10 7.1)
SEALED_RECORD = (Tag(0x0002, 0x0100), Tag(0x0002, 0x0102))
COHORT_FILE = "cohort.json"
LABELS_FILE = "labels.csv"
TRUTH_FILE = "truth.json"


class NotAnInstance(IntegrityFault):
    """A stored file is none that can be copied."""

    def __init__(self) -> None:
        super().__init__("a stored file is no whole instance")


class BadCase(StrEnum):
    """Why a case is left out of a workspace: what the hospital's own trail counts."""

    UNUSABLE = "unusable"  # graded D: no volume can be built of it
    FILE_MISSING = "file_missing"
    FILE_DAMAGED = "file_damaged"
    UNPLACED = "unplaced"  # nobody can tell whether the patient is a test's


@dataclass(frozen=True, slots=True)
class CohortSeries:
    """One series of the cohort, with its files in the store."""

    series_uid: PseudoUID
    study_uid: PseudoUID
    patient: Pseudonym
    files: tuple[Path, ...]
    is_usable: bool = True


@dataclass(frozen=True, slots=True)
class Workspace:
    """A cohort on disk. `inside` is all a sandbox sees; the truth of held-out cases stays out."""

    root: Path
    digest: str  # the Merkle root over every case and file, hex: names what a job ran on
    training_cases: int
    training_patients: int
    truth: Mapping[str, int]  # held-out or tested case -> label
    skipped: Mapping[str, int] = field(default_factory=dict)  # BadCase -> cases left out

    @property
    def inside(self) -> Path:
        return self.root / "inside"

    @property
    def bad_share(self) -> float:
        """Return how many of the cohort's cases were left out, as a share."""
        bad = sum(self.skipped.values())
        return bad / max(1, bad + self.training_cases + len(self.truth))

    @property
    def is_empty(self) -> bool:
        return self.training_cases + len(self.truth) == 0

    def cases(self) -> Mapping[str, int]:
        """Return the series of either side and how many files of each were frozen."""
        lists = json.loads((self.inside / COHORT_FILE).read_text("utf-8"))
        return {entry["case"]: len(entry["files"]) for side in lists.values() for entry in side}

    def patients(self) -> Mapping[str, str]:
        """Return whose each case is."""
        lists = json.loads((self.inside / COHORT_FILE).read_text("utf-8"))
        return {entry["case"]: entry["patient"] for side in lists.values() for entry in side}

    def files(self) -> Mapping[str, tuple[Path, ...]]:
        """Return each case's instances as the job sees them."""
        lists = json.loads((self.inside / COHORT_FILE).read_text("utf-8"))
        return {
            entry["case"]: tuple(self.inside / name for name in entry["files"])
            for side in lists.values()
            for entry in side
        }

    @classmethod
    def load(cls, root: Path) -> Self:
        """Open a cohort frozen earlier; IntegrityFault where the freeze did not end."""
        try:
            kept = json.loads((root / TRUTH_FILE).read_text("utf-8"))
            return cls(root, **kept)
        except (OSError, ValueError, TypeError) as fault:
            raise IntegrityFault("the workspace is not whole: freeze it again") from fault


def freeze(
    root: Path,
    cohort: Sequence[CohortSeries],
    labels: Mapping[str, int],
    split: Callable[[Pseudonym], Split | None],
    tested: frozenset[Split] = frozenset(),
) -> Workspace:
    """Copy a cohort once per job; labels go by series or by study, unlabelled series stay out.

    Patients of the test split stay out, too, unless it is `tested`: then those of the splits named
    are what the job predicts on, and there is nobody else in it. A bad case is left out, counted.
    The truth is written last and in one step, so a workspace that can be loaded is whole.
    """
    draft = root.with_name(root.name + ".draft")
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "inside").mkdir(parents=True)
    lists: dict[Split, list[dict[str, Any]]] = {Split.TRAINING: [], Split.VALIDATION: []}
    truth: dict[str, int] = {}
    leaves: list[bytes] = []
    skipped: Counter[str] = Counter()
    for series in sorted(cohort, key=lambda series: series.series_uid):
        label = labels.get(series.series_uid, labels.get(series.study_uid))
        if label is None:
            continue
        case, drawn = str(series.series_uid), split(series.patient)
        if drawn is None:
            skipped[BadCase.UNPLACED] += 1
            continue
        side = side_of(drawn, tested)
        if side is None:
            continue
        copied = _copy(series, draft / "inside")
        if isinstance(copied, BadCase):
            skipped[copied] += 1
            continue
        entry: dict[str, Any] = {
            "case": case,
            "patient": str(series.patient),
            "files": [name for name, _ in copied],
            "sha256": [digest for _, digest in copied],
        }
        leaves.append(merkle.leaf(case, int(label), entry["sha256"]))
        if side is Split.TRAINING:
            entry["label"] = int(label)
        else:
            truth[case] = int(label)
        lists[side].append(entry)
    _write_lists(draft / "inside", lists)
    kept = {
        "digest": merkle.root(leaves).hex(),
        "training_cases": len(lists[Split.TRAINING]),
        "training_patients": len({entry["patient"] for entry in lists[Split.TRAINING]}),
        "truth": truth,
        "skipped": dict(skipped),
    }
    (draft / TRUTH_FILE).write_text(json.dumps(kept), "utf-8")
    shutil.rmtree(root, ignore_errors=True)
    draft.replace(root)
    return Workspace.load(root)


def _write_lists(inside: Path, lists: Mapping[Split, Sequence[Mapping[str, Any]]]) -> None:
    """Write the manifest of cases, and the labels that may be known inside as a table."""
    (inside / COHORT_FILE).write_text(json.dumps(lists), "utf-8")
    rows = [(entry["case"], entry["label"]) for entry in lists[Split.TRAINING]]
    with (inside / LABELS_FILE).open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerows([("case", "label"), *rows])


def side_of(side: Split | None, tested: frozenset[Split]) -> Split | None:
    """Return the list a patient goes into; None for a patient this job does not see."""
    if side is None:
        return None
    if tested:
        return Split.VALIDATION if side in tested else None
    return None if side is Split.TEST else side


def discard(workspace: Workspace) -> None:
    """Remove a cohort's copies when its job is over."""
    shutil.rmtree(workspace.root, ignore_errors=True)


def _copy(series: CohortSeries, inside: Path) -> list[tuple[str, str]] | BadCase:
    """Copy a series' files under short names; return names and digests, or what is wrong."""
    if not series.is_usable:
        return BadCase.UNUSABLE
    folder = sha256(series.series_uid.encode()).hexdigest()[:16]
    (inside / folder).mkdir()
    copied = []
    try:
        for number, source in enumerate(series.files, start=1):
            name = f"{folder}/{number:05d}.dcm"
            copied.append((name, copy_without_seal(source, inside / name).hex()))
    except FileNotFoundError:
        bad = BadCase.FILE_MISSING
    except NotAnInstance:
        bad = BadCase.FILE_DAMAGED
    else:
        return copied
    shutil.rmtree(inside / folder)
    return bad


def copy_without_seal(source: Path, target: Path) -> bytes:
    """Copy a stored instance but for its sealed record; return the copy's SHA-256.

    The record is ciphertext, yet it names the instance for ever and is none of a vendor's business.
    Only the file meta is rewritten: the dataset's bytes go over as they are.
    """
    meta, dataset_at = _meta_of(source)
    for tag in SEALED_RECORD:
        meta.pop(tag, None)
    with source.open("rb") as old, target.open("xb") as new:
        new.write(PREAMBLE)
        write_file_meta_info(DicomIO(new), FileMetaDataset(meta), enforce_standard=True)
        old.seek(dataset_at)
        shutil.copyfileobj(old, new, 1 << 20)
    target.chmod(0o444)
    with target.open("rb") as copy:
        digest = sha256()
        while chunk := copy.read(1 << 20):
            digest.update(chunk)
    return digest.digest()


def _meta_of(source: Path) -> tuple[Any, int]:
    """Return the file meta and where the dataset begins; NotAnInstance where there is none."""
    try:
        meta = read_file_meta_info(source)
        dataset_at = len(PREAMBLE) + GROUP_LENGTH_BYTES + int(meta.FileMetaInformationGroupLength)
    except OSError:
        raise
    except Exception as fault:
        raise NotAnInstance from fault
    if source.stat().st_size <= dataset_at:
        raise NotAnInstance
    return meta, dataset_at
