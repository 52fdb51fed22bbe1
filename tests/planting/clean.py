"""The untouched pass: files as they are; what should stay stays, and through which lane they go."""

import re
import subprocess
import warnings
from collections import Counter, defaultdict
from datetime import date
from pathlib import Path
from shutil import which

from pydicom import dcmread
from pydicom.dataset import Dataset

from tests.planting.files import Real, real_files
from tests.planting.house import House
from tests.planting.scoring import SPEAKING, technical, uids

READABLE = frozenset(
    "1.2.840.10008.5.1.4.1.1." + tail
    for tail in ("1", "1.1", "1.1.1", "2", "2.1", "4", "4.1", "20", "128")
)


def clean_pass(base: Path, every: int = 1) -> dict[str, object]:
    """Store untouched files; compare what is stored with what was sent."""
    totals: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    destroyed: Counter[str] = Counter()
    text: Counter[str] = Counter()
    new_errors: Counter[str] = Counter()
    became: dict[str, set[str]] = defaultdict(set)
    shifts: dict[str, set[int]] = defaultdict(set)
    for number, real in enumerate(real_files()[::every]):
        house = House(base / str(number))
        try:
            fate = house.take(real.sop_class, real.sop_uid, real.syntax, real.raw)
            readable = real.sop_class in READABLE and _readable(real)
            totals["files"] += 1
            totals[fate.lane] += 1
            if readable:
                totals["readable"] += 1
                totals[f"readable, {fate.lane}"] += 1
            if fate.file is None:
                reasons[
                    ("readable " if readable else "")
                    + f"{fate.lane}: {fate.reason}"
                    + (f" ({real.name})" if readable else "")
                ] += 1
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                _compare(real, fate.file, totals, destroyed, text, became, shifts)
            if which("dciodvfy"):
                for error in _new_errors(real, fate.file, base):
                    new_errors[error] += 1
                    totals["new dciodvfy errors"] += 1
        finally:
            house.close()
    broken = [uid for uid, others in became.items() if len(others) > 1]
    return {
        "totals": dict(totals),
        "reasons": dict(reasons.most_common()),
        "technical destroyed": dict(destroyed.most_common()),
        "descriptions changed": dict(text.most_common()),
        "new dciodvfy errors": dict(new_errors.most_common(40)),
        "uids with two pseudonyms": len(broken),
        "patients with two shifts": sum(len(s) > 1 for s in shifts.values()),
    }


def _readable(real: Real) -> bool:
    """Say whether anybody could use it: it parses, and names itself."""
    try:
        dataset = real.dataset()
        return all(
            dataset.get(keyword)
            for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Rows")
        )
    except Exception:  # noqa: BLE001 - damaged on purpose
        return False


def _compare(real: Real, file: Path, totals, destroyed, text, became, shifts) -> None:
    before, after = real.dataset(), dcmread(file)
    lost = list(technical(before, after))
    destroyed.update(f"{name} in {real.sop_class.split('.')[-1]}" for name in lost)
    totals["files with technical loss"] += bool(lost)
    if "PixelData" in before:
        same = before.PixelData == after.PixelData
        totals["pixels identical" if same else "pixels changed"] += 1
        if not same:
            destroyed[f"pixels of {real.name}"] += 1
    for keyword in SPEAKING:
        one, other = str(before.get(keyword, "") or ""), str(after.get(keyword, "") or "")
        if one.strip() != other.strip():
            text[f"{keyword}: {one!r} -> {other!r}"] += 1
    for one, other in uids(before, after):
        became[one].add(other)
    study = "" if before.get("PatientID") else before.get("StudyInstanceUID")
    patient = f"{before.get('PatientID')}|{before.get('IssuerOfPatientID')}|{study}"
    shifts[patient] |= set(_shifts(before, after))


def _shifts(before: Dataset, after: Dataset):
    for element in before:
        if element.VR == "DA" and element.tag in after and after[element.tag].value:
            one, other = (parsed(str(d[element.tag].value)) for d in (before, after))
            if one is None or other is None:
                continue
            yield (one - other).days


def parsed(text: str) -> date | None:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        return None


def _new_errors(real: Real, file: Path, base: Path) -> set[str]:
    """Return what dciodvfy says of the stored file and did not say of the original."""
    original = base / "original.dcm"
    stored = file.read_bytes()
    meta = 144 + int.from_bytes(stored[140:144], "little")
    original.write_bytes(stored[:meta] + real.raw)  # the same head: the dataset alone is judged
    return _errors(file) - _errors(original)


def _errors(path: Path) -> set[str]:
    done = subprocess.run(
        ["dciodvfy", "-new", str(path)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )
    found = set()
    for line in done.stderr.splitlines():
        if line.startswith("Error"):
            found.add(re.sub(r"<[^<>]*?>$|\[\d+\]|= <.*?>", "", line).strip())
    return found
