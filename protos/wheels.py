"""A bundle's own dependencies: wheels it brings, each pinned by its SHA-256, none ever built.

    requirements.txt    tinylib==1.0 --hash=sha256:...
    wheels/tinylib-1.0-py3-none-any.whl

As `pip install --no-index --require-hashes --only-binary :all:` would have it. What is checked here
is what a reviewer signed; the sandbox checks it again where it unpacks them.
"""

import re
from collections.abc import Mapping
from hashlib import sha256

REQUIREMENTS, FOLDER = "requirements.txt", "wheels/"
# PEP 427: name, version, an optional build number, then tags of Python, ABI and platform.
WHEEL = re.compile(
    r"(?P<name>[A-Za-z0-9_.]+)-(?P<version>[A-Za-z0-9_.!+]+)(?:-[0-9][A-Za-z0-9_.]*)?"
    r"-(?P<python>[a-z0-9_.]+)-(?P<abi>[a-z0-9_.]+)-(?P<platform>[A-Za-z0-9_.]+)\.whl"
)
PIN = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[A-Za-z0-9_.!+]+)"
    r"(?P<hashes>(?:\s+--hash=sha256:[0-9a-f]{64})+)"
)
HASH = re.compile(r"sha256:([0-9a-f]{64})")


def fault_in(files: Mapping[str, bytes]) -> str:
    """Say what is wrong with a bundle's wheels and their pins; empty where nothing is."""
    wheels = {name.removeprefix(FOLDER): name for name in files if name.startswith(FOLDER)}
    if not wheels and REQUIREMENTS not in files:
        return ""
    if odd := next((name for name in sorted(wheels) if not WHEEL.fullmatch(name)), None):
        return f"{FOLDER}{odd} is not a wheel: nothing is built from source"
    pins, fault = _pins(files.get(REQUIREMENTS, b""))
    return fault or _mismatch({name: files[path] for name, path in wheels.items()}, pins)


def _mismatch(wheels: Mapping[str, bytes], pins: Mapping[tuple[str, str], frozenset[str]]) -> str:
    """Say which wheel is not as pinned, or which pin has no wheel."""
    brought = set()
    for name, content in sorted(wheels.items()):
        found = WHEEL.fullmatch(name)
        assert found is not None
        key = (_plain(found["name"]), found["version"])
        if key not in pins:
            return f"{FOLDER}{name} is not pinned in {REQUIREMENTS} by its name and version"
        if sha256(content).hexdigest() not in pins[key]:
            return f"{FOLDER}{name} does not have a hash that {REQUIREMENTS} names"
        brought.add(key)
    if missing := sorted(pins.keys() - brought):
        return f"{REQUIREMENTS} pins {missing[0][0]}, whose wheel is not under {FOLDER}"
    return ""


def _pins(raw: bytes) -> tuple[dict[tuple[str, str], frozenset[str]], str]:
    """Return the hashes of each (name, version), or why a line is no pin."""
    pins: dict[tuple[str, str], frozenset[str]] = {}
    text = raw.decode("utf-8", "replace").replace("\\\n", " ")
    for line in text.splitlines():
        pin = line.split(" #")[0].strip()
        if not pin or pin.startswith("#"):
            continue
        found = PIN.fullmatch(pin)
        if found is None:
            return {}, f"{REQUIREMENTS}: each line is `name==version --hash=sha256:...`"
        key = (_plain(found["name"]), found["version"])
        if key in pins:
            return {}, f"{REQUIREMENTS} pins {key[0]} twice"
        pins[key] = frozenset(HASH.findall(found["hashes"]))
    return pins, ""


def _plain(name: str) -> str:
    """PEP 503: a name is the same however it is punctuated."""
    return re.sub(r"[-_.]+", "-", name).lower()
