"""A vendor's bundle: `job.toml` and code, packed to the same bytes everywhere, named by digest."""

import io
import os
import re
import tarfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protos import flower, wheels
from protos.canonical import bundle_statement
from protos.job_manifest import (
    MANIFEST,
    SHIPPED,
    BundleFault,
    Form,
    JobManifest,
    parse_manifest,
)

if TYPE_CHECKING:
    pass

ENTRY_POINT = "job.py"
INITIAL_WEIGHTS = "weights.safetensors"  # optional: what the first round starts from
BUNDLE_LIMIT_BYTES = 512 << 20
MEMBER_LIMIT = 2000
# Portable, visible, nothing a shell or a file system reads otherwise; never hidden, never `..`.
MEMBER_NAME = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,79}(?:/[A-Za-z0-9_][A-Za-z0-9._+-]{0,79}){0,7}"
)
NAME_LIMIT = 100  # the ustar name field


class HostileBundle(BundleFault):
    """A packed bundle holds something an honest packer never writes."""


class ForgedBundle(BundleFault):
    """The vendor's signature does not belong to this bundle."""


def pack(directory: Path) -> bytes:
    """Pack a directory reproducibly: same files, same bytes, whoever packs and wherever."""
    files = {}
    for folder, folders, names in os.walk(directory):
        folders[:] = sorted(name for name in folders if not _is_by_product(name))
        for name in names:
            if _is_by_product(name):
                continue
            path = Path(folder, name)
            if path.is_symlink() or not path.is_file():
                raise BundleFault(f"{path} is not a plain file: a bundle holds nothing else")
            files[path.relative_to(directory).as_posix()] = path.read_bytes()
    packed = encode(files)
    read(packed)  # what we would refuse, we do not make
    return packed


def read(raw: bytes) -> dict[str, bytes]:
    """Return a packed bundle's files; HostileBundle for whatever `pack` would not have written.

    The last word is a comparison: packing the files again must give the same bytes, so that two
    readers can never see two bundles in one digest (PAX headers, sparse files, padding, a tail).
    """
    if len(raw) > BUNDLE_LIMIT_BYTES:
        raise HostileBundle(f"the bundle passes {BUNDLE_LIMIT_BYTES} bytes")
    files: dict[str, bytes] = {}
    folded: set[str] = set()
    try:
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as tar:
            while (member := tar.next()) is not None:
                _admit(member, folded)
                source = tar.extractfile(member)
                files[member.name] = source.read() if source else b""
    except (tarfile.TarError, EOFError, ValueError, OSError) as fault:
        if isinstance(fault, BundleFault):
            raise
        raise HostileBundle("the bundle is not a readable archive") from fault
    _refuse_shadows(files)
    if encode(files) != raw:
        raise HostileBundle("the bundle is not packed as `radfed` packs")
    if unsound := _fault_of_form(parse_manifest(_text(files, MANIFEST)).form, files):
        raise BundleFault(unsound)
    return files


def unpack(raw: bytes, into: Path) -> JobManifest:
    """Write a packed bundle's files below a directory that must not exist yet; read-only files."""
    files = read(raw)
    into.mkdir(mode=0o755)
    for name, content in files.items():
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o444)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    return parse_manifest(_text(files, MANIFEST))


def manifest_of(raw: bytes) -> JobManifest:
    """Return a packed bundle's manifest, after every check of `read`."""
    return parse_manifest(_text(read(raw), MANIFEST))


def initial_weights(raw: bytes) -> bytes | None:
    """Return the weights a bundle brings for its first round."""
    return read(raw).get(INITIAL_WEIGHTS)


def digest(raw: bytes) -> bytes:
    """Return the bundle's name: SHA-256 of its packed bytes."""
    return sha256(raw).digest()


def sign(raw: bytes, key: Ed25519PrivateKey) -> bytes:
    """Sign a packed bundle as its vendor."""
    return key.sign(bundle_statement(digest(raw)))


def verify(bundle_digest: bytes, public_key: bytes, signature: bytes) -> None:
    """Check a vendor's signature over a bundle's digest; ForgedBundle when it is not theirs."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(
            signature, bundle_statement(bundle_digest)
        )
    except (InvalidSignature, ValueError) as fault:
        raise ForgedBundle("the signature is not the vendor's over this bundle") from fault


def encode(files: Mapping[str, bytes]) -> bytes:
    """Return the one archive of these files: plain ustar, names sorted, no times, no owners."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            if not MEMBER_NAME.fullmatch(name) or len(name) > NAME_LIMIT:
                raise BundleFault(f"`{name!r}` cannot be a name in a bundle")
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(files[name]), 0o644
            tar.addfile(member, io.BytesIO(files[name]))
    return buffer.getvalue()


def _admit(member: tarfile.TarInfo, folded: set[str]) -> None:
    if member.type != tarfile.REGTYPE:
        raise HostileBundle("the bundle holds something other than plain files")
    if not MEMBER_NAME.fullmatch(member.name) or len(member.name) > NAME_LIMIT:
        raise HostileBundle("a name in the bundle is not allowed")
    if member.name.casefold() in folded:
        raise HostileBundle("a name stands twice in the bundle")
    folded.add(member.name.casefold())
    if len(folded) > MEMBER_LIMIT:
        raise HostileBundle(f"the bundle holds more than {MEMBER_LIMIT} files")


def _fault_of_form(form: Form, files: Mapping[str, bytes]) -> str:
    """Say what is missing of the code that the manifest's form promises, or is too much."""
    if form is Form.PYTHON or ENTRY_POINT in files:
        _text(files, ENTRY_POINT)
    if form in SHIPPED and (code := next((name for name in sorted(files) if _is_code(name)), None)):
        return f"a job of form {form} runs the hospital's own code: take {code} out"
    app = flower.fault_in(files) if form is Form.FLOWER else ""
    return app or wheels.fault_in(files)


def _is_code(name: str) -> bool:
    return name == ENTRY_POINT or name.startswith(wheels.FOLDER)


def _refuse_shadows(files: Mapping[str, bytes]) -> None:
    folders = {parent.as_posix() for name in files for parent in Path(name).parents}
    if not folders.isdisjoint(files):
        raise HostileBundle("a name in the bundle is a file and a folder at once")


def _is_by_product(name: str) -> bool:
    """Tell what tools leave beside code: caches, and whatever a listing does not show."""
    return name.startswith(".") or name == "__pycache__"


def _text(files: Mapping[str, bytes], name: str) -> str:
    try:
        return files[name].decode("utf-8")
    except KeyError as fault:
        raise BundleFault(f"the bundle has no {name}") from fault
    except UnicodeDecodeError as fault:
        raise BundleFault(f"{name} is not UTF-8") from fault
