"""Unpacks the wheels a bundle brings, inside the sandbox: hashes first, nothing built or run.

What `pip install --no-index --require-hashes --only-binary :all:` does, without pip: not every
runtime has it, and it takes over a second at each start. Plain standard library.
"""

import hashlib
import os
import platform
import re
import sys
import zipfile

REQUIREMENTS, FOLDER = "requirements.txt", "wheels"
PURE = re.compile(r"[^/]+\.data/(?:purelib|platlib)/(.+)")
DATA = re.compile(r"[^/]+\.data/")


def install(code: str, into: str) -> bool:
    """Unpack every wheel of an unpacked bundle; False where it brings none, ImportError for bad."""
    folder = os.path.join(code, FOLDER)
    if not os.path.isdir(folder):
        return False
    with open(os.path.join(code, REQUIREMENTS), encoding="utf-8") as file:
        allowed = set(re.findall(r"--hash=sha256:([0-9a-f]{64})", file.read()))
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() not in allowed:
                raise ImportError(f"{name} does not have a hash that {REQUIREMENTS} names")
        if not suits(name):
            raise ImportError(f"{name} is made for another Python or machine")
        _unpack(path, into)
    return True


def suits(name: str) -> bool:
    """Say whether a wheel of this name can be imported here (PEP 425)."""
    python, abi, places = name.removesuffix(".whl").split("-")[-3:]
    here = f"cp{sys.version_info.major}{sys.version_info.minor}"
    minor = sys.version_info.minor
    pythons = {here, "py3", *(f"py3{each}" for each in range(minor + 1))}
    if "abi3" in abi.split("."):
        pythons |= {f"cp3{each}" for each in range(2, minor + 1)}
    mine = "any", f"_{platform.machine()}"
    return (
        not pythons.isdisjoint(python.split("."))
        and not {"none", "abi3", here}.isdisjoint(abi.split("."))
        and any(
            place == mine[0] or (place.endswith(mine[1]) and "linux" in place)
            for place in places.split(".")
        )
    )


def _unpack(path: str, into: str) -> None:
    """Write a wheel's packages; its scripts and data are nobody's business in here."""
    with zipfile.ZipFile(path) as wheel:
        for member in wheel.infolist():
            found = PURE.fullmatch(member.filename)
            name = found[1] if found else member.filename
            if member.is_dir() or (DATA.match(name) and not found):
                continue
            parts = name.split("/")
            if name.startswith("/") or ".." in parts or "" in parts:
                raise ImportError(f"{os.path.basename(path)} names a place outside")
            target = os.path.join(into, *parts)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with wheel.open(member) as source, open(target, "xb") as file:
                while chunk := source.read(1 << 20):
                    file.write(chunk)
