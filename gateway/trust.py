"""What this hospital has pinned: the federation's root, and the newest manifest that it signed."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.durable import make_durably, replace_durably
from gateway.errors import ConfigurationFault, IntegrityFault, Refused
from protos.manifest import MANIFEST_BYTES, Manifest, read_manifest
from protos.root import NotOfTheRoot, fingerprint, read_roots, read_succession


class Pins:
    """Two files, read again whenever one changes; nobody but this hospital writes them."""

    def __init__(
        self,
        roots_file: Path,
        manifest_file: Path,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._roots_file = roots_file
        self._manifest_file = manifest_file
        self._now = now
        self._lock = Lock()
        self._seen: tuple[object, ...] | None = None
        self._manifest: Manifest | None = None

    def roots(self) -> list[x509.Certificate]:
        """Return the pinned roots; nobody is believed where there is none."""
        try:
            return read_roots(self._roots_file.read_bytes())
        except FileNotFoundError:
            return []
        except ValueError as fault:
            raise IntegrityFault(f"{self._roots_file}: {fault}: restore it") from fault

    def manifest(self) -> Manifest | None:
        """Return the pinned manifest, in force or not; None where there is none that holds."""
        with self._lock:
            seen = (_mark(self._roots_file), _mark(self._manifest_file))
            if seen != self._seen:
                self._manifest, self._seen = self._read(), seen
            return self._manifest

    def version(self) -> int:
        manifest = self.manifest()
        return 0 if manifest is None else manifest.version

    def take_manifest(self, raw: bytes) -> Manifest:
        """Pin a manifest of a pinned root; Refused where it is forged, older, or not in force.

        An older one would bring back a key that was struck out since.
        """
        try:
            manifest = read_manifest(raw, self.roots())
        except NotOfTheRoot as fault:
            raise Refused(f"{fault}: nothing was pinned") from fault
        last = self.manifest()
        if last is not None and manifest.federation != last.federation:
            raise Refused(f"this manifest is of the federation {manifest.federation}")
        if last is not None and manifest.version < last.version:
            raise Refused(
                f"version {manifest.version} of the manifest is older than the pinned one "
                f"({last.version}): it was rolled back, or a wrong file; nothing was pinned"
            )
        if last is not None and manifest.version == last.version and manifest != last:
            raise Refused(f"there are two manifests of version {last.version}: ask the federation")
        if not manifest.is_current(self._now().timestamp()):
            raise Refused("this manifest is not in force now: check the clock, or ask for a newer")
        make_durably(self._manifest_file.parent)
        replace_durably(self._manifest_file, raw)
        return manifest

    def pin_root(self, root: x509.Certificate) -> str:
        """Pin a root beside those that are; return its fingerprint."""
        roots = self.roots()
        if root not in roots:
            make_durably(self._roots_file.parent)
            both = b"".join(r.public_bytes(Encoding.PEM) for r in [*roots, root])
            replace_durably(self._roots_file, both)
        return fingerprint(root)

    def unpin_root(self, which: str) -> None:
        """Let go of a root, such as one that has a successor by now."""
        pinned = self.roots()
        kept = [root for root in pinned if fingerprint(root) != which]
        if len(kept) == len(pinned):
            raise ConfigurationFault(f"no root with the fingerprint {which} is pinned")
        if not kept:
            raise ConfigurationFault("this is the only root: pin its successor first")
        replace_durably(self._roots_file, b"".join(r.public_bytes(Encoding.PEM) for r in kept))

    def pin(self, raw: bytes, *, another: bool = False) -> dict[str, object]:
        """Pin whatever a file holds: a root's certificate, a successor's, or a manifest."""
        if raw.startswith(b"-----BEGIN CERTIFICATE"):
            try:
                (root,) = read_roots(raw)
            except ValueError as fault:
                raise ConfigurationFault("this is not one root's certificate") from fault
            if not another and self.roots() and root not in self.roots():
                raise Refused(
                    "another root is pinned already: pin its own word for a successor, or, if you "
                    "have compared the fingerprint by another way, say --another"
                )
            return {"pinned": "root", "fingerprint": self.pin_root(root)}
        if b'"root-succession"' in raw[:MANIFEST_BYTES]:
            try:
                _federation, root = read_succession(raw, self.roots())
            except NotOfTheRoot as fault:
                raise Refused(f"{fault}: nothing was pinned") from fault
            return {"pinned": "root", "fingerprint": self.pin_root(root)}
        manifest = self.take_manifest(raw)
        return {"pinned": "manifest", "version": manifest.version}

    def document(self) -> dict[str, object]:
        """Return what is pinned, for the steward's eyes."""
        manifest = self.manifest()
        return {
            "roots": [fingerprint(root) for root in self.roots()],
            "manifest": None if manifest is None else manifest.model_dump(mode="json"),
            "in_force": manifest is not None and manifest.is_current(self._now().timestamp()),
        }

    def _read(self) -> Manifest | None:
        try:
            return read_manifest(self._manifest_file.read_bytes(), self.roots())
        except (OSError, NotOfTheRoot, IntegrityFault):
            return None  # nobody is believed until it is pinned again


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
