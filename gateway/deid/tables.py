"""The tables de-identification rests on, read once, and the commands that make them.

`profile.csv` is PS3.15 Table E.1-1; `iods.csv` says which attributes each IOD has, and of which
type (PS3.3), from the tables highdicom carries. A site may name a newer Table E.1-1, and the safe
private attributes of Table E.3.10-1, which is not shipped (`importing`). To make ours again:

    python -m gateway.deid.tables profile TABLE.json
    python -m gateway.deid.tables iods
"""

import csv
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path

from pydicom.datadict import tag_for_keyword

from gateway.errors import ConfigurationFault

PRIVATE_TAG = re.compile(r"\(([0-9A-F]{3}[13579BDF]),XX([0-9A-F]{2})\)")
VR = re.compile(r"[A-Z]{2}")
STATED = re.compile(r"; edition (?P<edition>20\d\d[a-z])(?:; (?P<rows>\d+) rows)?$")
EDITION = "2024b"
SOURCE = "PS3.15 Table E.1-1, machine-readable by Innolitics (MIT), dicom-standard 7f4749d"
ROWS = 621
ROWS_OF_PIXELS = 0x00280010
CODES = frozenset({"X", "Z", "D", "U", "K", "C"})
CODE_FORM = re.compile(r"(?:[A-Z]\*?(?:/[A-Z]\*?)*)?")
OPTION_CODES = frozenset({"", "K", "C"})
# An attribute stands in a module more than once where its condition differs: the strictest counts.
STRICTNESS = ("1", "1C", "2", "2C", "3")
COLUMNS = {
    "tag": "tag",
    "name": "name",
    "stdCompIOD": "in_iod",
    "basicProfile": "basic",
    "rtnSafePrivOpt": "retain_safe_private",
    "rtnUIDsOpt": "retain_uids",
    "rtnDevIdOpt": "retain_device_identity",
    "rtnInstIdOpt": "retain_institution_identity",
    "rtnPatCharsOpt": "retain_patient_characteristics",
    "rtnLongFullDatesOpt": "retain_longitudinal_full_dates",
    "rtnLongModifDatesOpt": "retain_longitudinal_modified_dates",
    "cleanDescOpt": "clean_descriptors",
    "cleanStructContOpt": "clean_structured_content",
    "cleanGraphOpt": "clean_graphics",
}
OPTIONS = tuple(list(COLUMNS.values())[4:])
# Retired classes still sent by old devices, and the IOD that took their place.
SUCCESSORS = {
    "1.2.840.10008.5.1.4.1.1.3": "1.2.840.10008.5.1.4.1.1.3.1",  # Ultrasound Multi-frame
    "1.2.840.10008.5.1.4.1.1.5": "1.2.840.10008.5.1.4.1.1.20",  # Nuclear Medicine
    "1.2.840.10008.5.1.4.1.1.6": "1.2.840.10008.5.1.4.1.1.6.1",  # Ultrasound
}
# Any image may have frames, vectors that number them, values that mean something, and sources
# (devices add them where the IOD does not list them); without these its pixels cannot be read.
IMAGE_MODULES = (
    "multi-frame", "modality-lut", "voi-lut", "cine",
    "general-reference", "nm-multi-frame", "sc-multi-frame-vector",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One row of Table E.1-1: what the Basic Profile does, and what each option does instead."""

    name: str
    in_iod: bool
    basic: str
    options: Mapping[str, str]


class IodTable:
    """Which attributes an IOD has at its root, and a sequence in its items; and their types."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._rows: dict[tuple[str, str], str] = {}
        for line in lines:
            if not line.startswith("#"):
                kind, name, content = line.rstrip("\n").split(",", 2)
                self._rows[kind, name] = content
        self._roots: dict[str, dict[int, str]] = {}
        self._items: dict[int, dict[int, str]] = {}

    def iod(self, sop_class_uid: str) -> str | None:
        """Name a storage class's IOD; None for a private or unknown class."""
        return self._rows.get(("class", SUCCESSORS.get(sop_class_uid, sop_class_uid)))

    def names(self) -> list[str]:
        return sorted(name for kind, name in self._rows if kind == "iod")

    def classes(self) -> Mapping[str, str]:
        """Return the IOD of every storage class the tables know."""
        return {name: iod for (kind, name), iod in self._rows.items() if kind == "class"}

    def sequences(self) -> list[int]:
        return sorted(int(name, 16) for kind, name in self._rows if kind == "sequence")

    def is_image(self, iod: str) -> bool:
        return ROWS_OF_PIXELS in self.root(iod)

    def root(self, iod: str) -> Mapping[int, str]:
        """Return tag -> type of an IOD's own attributes."""
        if iod not in self._roots:
            modules = self._rows["iod", iod].split()
            if "image-pixel" in modules:
                modules = [*modules, *IMAGE_MODULES]
            self._roots[iod] = _strictest(
                pair for module in modules for pair in self._pairs("module", module)
            )
        return self._roots[iod]

    def items(self, sequence: int) -> Mapping[int, str]:
        """Return tag -> type of what stands in the items of a sequence."""
        if sequence not in self._items:
            self._items[sequence] = dict(self._pairs("sequence", f"{sequence:08X}"))
        return self._items[sequence]

    def _pairs(self, kind: str, name: str) -> Iterator[tuple[int, str]]:
        for pair in self._rows.get((kind, name), "").split():
            tag, _, of_type = pair.partition(":")
            yield int(tag, 16), of_type


@dataclass(frozen=True, slots=True)
class SafePrivate:
    """One row of Table E.3.10-1: a private attribute that is known to name nobody."""

    vr: str
    meaning: str


# By group, creator and the last two digits of the element.
PrivateTable = Mapping[tuple[int, str, int], SafePrivate]


@dataclass(frozen=True, slots=True)
class Sources:
    """Which tables a site uses; None: the one shipped, and none of safe private attributes."""

    profile: Path | None = None
    private: Path | None = None


SHIPPED = Sources()


@dataclass(frozen=True, slots=True)
class Tables:
    profile: Mapping[int, Row]  # single tags; repeating groups and private ones are rules
    iods: IodTable
    digest: str
    private: PrivateTable | None = None
    source: str = ""  # of Table E.1-1, with its edition
    private_source: str = ""

    def safe_private(self, creator: str, tag: int) -> SafePrivate | None:
        return self.private.get((tag >> 16, creator, tag & 0xFF)) if self.private else None


@cache
def load(sources: Sources = SHIPPED) -> Tables:
    """Read and check the tables; ConfigurationFault when a file is damaged or missing."""
    here = resources.files("gateway.deid")
    profile_file = sources.profile or here / "profile.csv"
    try:
        profile = profile_file.read_bytes()
        iods = (here / "iods.csv").read_bytes()
        private = sources.private.read_bytes() if sources.private else None
        raws = [profile, iods] if private is None else [profile, iods, private]
        lines = private.decode().splitlines() if private is not None else []
        return Tables(
            read_profile(profile.decode().splitlines()),
            IodTable(iods.decode().splitlines()),
            sha256(b"".join(sha256(raw).digest() for raw in raws)).hexdigest(),
            None if private is None else read_private(lines),
            _heading(profile.decode().splitlines()),
            _heading(lines),
        )
    except (OSError, ValueError, KeyError) as fault:
        named = [str(path) for path in (sources.profile, sources.private) if path is not None]
        whose = f" ({', '.join(named)})" if named else ""
        raise ConfigurationFault(
            f"the de-identification tables{whose} are damaged: {_said(fault)}"
        ) from fault


def _said(fault: Exception) -> str:
    return (fault.strerror or "unreadable") if isinstance(fault, OSError) else str(fault)


def _heading(lines: Sequence[str]) -> str:
    return lines[0].lstrip("# ") if lines and lines[0].startswith("#") else ""


def _rows_stated(lines: Sequence[str]) -> int:
    """Return how many rows the file itself says it has: one that was cut says so still."""
    found = STATED.search(_heading(lines))
    return int(found["rows"]) if found and found["rows"] else ROWS


def read_private(lines: Sequence[str]) -> dict[tuple[int, str, int], SafePrivate]:
    """Read Table E.3.10-1; ValueError when a row is not as the standard has it."""
    rows: dict[tuple[int, str, int], SafePrivate] = {}
    count = 0
    for fields in csv.DictReader(line for line in lines if not line.startswith("#")):
        count += 1
        tag = PRIVATE_TAG.fullmatch(fields["tag"].upper())
        if tag is None or not VR.fullmatch(fields["vr"]) or not fields["creator"]:
            raise ValueError(f"{fields['tag']} is not a private attribute with creator and VR")
        key = (int(tag[1], 16), fields["creator"], int(tag[2], 16))
        rows[key] = SafePrivate(fields["vr"], fields["meaning"])
    if count == 0 or count != _rows_stated(lines):
        raise ValueError(f"Table E.3.10-1 has {_rows_stated(lines)} rows, the file {count}")
    return rows


def read_profile(lines: Sequence[str]) -> dict[int, Row]:
    """Read Table E.1-1; ValueError when a row or code is not as the standard has it."""
    rows: dict[int, Row] = {}
    count = 0
    for fields in csv.DictReader(line for line in lines if not line.startswith("#")):
        count += 1
        codes = [fields["basic"] or "", *(fields[option] or "" for option in OPTIONS)]
        letters = {part for code in codes for part in re.findall(r"[A-Z]", code)}
        formed = codes[0] and all(CODE_FORM.fullmatch(code) for code in codes)
        if not (formed and letters <= CODES):
            raise ValueError(f"{fields['tag']} has an unknown action")
        if not {*codes[1:]} <= OPTION_CODES:
            raise ValueError(f"{fields['tag']} has an option that neither keeps nor cleans")
        if re.fullmatch(r"\([0-9A-F]{4},[0-9A-F]{4}\)", fields["tag"]):
            options = {option: fields[option] for option in OPTIONS if fields[option]}
            row = Row(fields["name"], fields["in_iod"] == "Y", fields["basic"], options)
            rows[int(fields["tag"][1:5] + fields["tag"][6:10], 16)] = row
    if count != (stated := _rows_stated(lines)):
        raise ValueError(f"Table E.1-1 has {stated} rows in this edition, the file {count}")
    return rows


def profile_lines(entries: Iterable[Mapping[str, str]]) -> Iterator[str]:
    """Write Table E.1-1 as the project keeps it."""
    yield f"# {SOURCE}; edition {EDITION}"
    yield ",".join(COLUMNS.values())
    for entry in sorted(entries, key=lambda entry: entry["tag"]):
        tag = entry["tag"].replace("GGGG,EEEE", "gggg,eeee")
        yield ",".join(
            f'"{tag}"' if key == "tag" else " ".join(entry.get(key, "").replace(",", ";").split())
            for key in COLUMNS
        )


def iod_lines(standard: Path, version: str) -> Iterator[str]:
    """Boil highdicom's tables down to what the allow-list asks."""
    classes, iods, attributes_of = (
        json.loads((standard / f"{name}.json").read_text("utf-8"))
        for name in ("sop_class_iod_map", "iod_module_map", "module_attribute_map")
    )
    yield f"# PS3.3 modules and attribute types, from the tables of highdicom {version}"
    yield from (f"class,{uid},{iod}" for uid, iod in sorted(classes.items()) if iod in iods)
    yield from (
        f"iod,{iod},{' '.join(module['key'] for module in modules)}"
        for iod, modules in sorted(iods.items())
    )
    modules: dict[str, list[tuple[int, str]]] = {}
    sequences: dict[str, list[tuple[int, str]]] = {}
    for module, attributes in attributes_of.items():
        for attribute in attributes:
            tag, path = tag_for_keyword(attribute["keyword"]), attribute["path"]
            parent = tag_for_keyword(path[-1]) if path else None
            if tag is not None and not path:
                modules.setdefault(module, []).append((tag, attribute["type"]))
            elif tag is not None and parent is not None:
                sequences.setdefault(f"{parent:08X}", []).append((tag, attribute["type"]))
    for kind, containers in (("module", modules), ("sequence", sequences)):
        for name, pairs in sorted(containers.items()):
            found = sorted(_strictest(pairs).items())
            yield f"{kind},{name},{' '.join(f'{tag:08X}:{of_type}' for tag, of_type in found)}"


def _strictest(pairs: Iterable[tuple[int, str]]) -> dict[int, str]:
    found: dict[int, str] = {}
    for tag, written in pairs:
        of_type = written if written in STRICTNESS else "3"
        found[tag] = min(found.get(tag, "3"), of_type, key=STRICTNESS.index)
    return found


def _main(arguments: list[str]) -> None:
    here = Path(__file__).parent
    match arguments:
        case ["profile", source]:
            lines = profile_lines(json.loads(Path(source).read_text("utf-8")))
            (here / "profile.csv").write_text("\n".join(lines) + "\n", "utf-8")
        case ["iods"]:
            found = find_spec("highdicom")
            assert found is not None
            assert found.origin is not None
            standard = Path(found.origin).parent / "_standard"
            lines = iod_lines(standard, metadata.version("highdicom"))
            (here / "iods.csv").write_text("\n".join(lines) + "\n", "utf-8")
        case _:
            sys.exit("usage: python -m gateway.deid.tables profile TABLE.json | iods")


if __name__ == "__main__":
    _main(sys.argv[1:])
