"""The vault: identified instances at rest, encrypted, only while needed.

    incoming/<id>.sealed     waits for a worker of the line
    incoming/<id>.cleared    the same, after an operator looked at its pixels and released it
    incoming/<id>.trying     the line reads it, or read it when it was killed
    quarantine/<id>.sealed   waits for an operator
    quarantine/<id>.why      the latest reason, where it is not the label's own

An id is a keyed digest of the instance's UID and bytes: the same instance twice is one entry, and
the id says nothing to anyone else. Only the label, which is encrypted, names a patient's UIDs.
"""

import fcntl
import hmac
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.durable import Directory, Draft
from gateway.errors import ConfigurationFault, GatewayError, IntegrityFault
from gateway.keys import Ring
from gateway.vault.cipher import BODY_AT, LABEL_AT, Decryptor, Encryptor, Erased, changed, destroy
from gateway.vault.entry import Entry, Kept, Reason

SEALED, CLEARED, TRYING, WHY = ".sealed", ".cleared", ".trying", ".why"
ID_BYTES = 16
ID_FORM = re.compile(r"[0-9a-f]{32}")
_WHY_PURPOSE = b"radfed vault reason v1 "


class NoSuchEntry(ConfigurationFault):
    def __init__(self) -> None:
        super().__init__("there is no such entry: `radfed gateway quarantine ls` lists them")


class Vault:
    """The vault of one gateway; several processes add, one line takes out."""

    def __init__(self, directory: Path, vault_key: bytes | Ring) -> None:
        self._ring = Ring.of(vault_key)
        self._incoming = Directory(directory / "incoming")
        self._quarantine = Directory(directory / "quarantine")

    def writer(self) -> "VaultWriter":
        return VaultWriter(self, self._incoming.draft(), Encryptor(self._ring.newest))

    def id_of(self, sop_instance_uid: str, received: str) -> str:
        """Name an entry: a keyed digest, so that a name betrays nothing."""
        named = f"radfed vault id v1 {sop_instance_uid} {received}".encode()
        # Of the first key: the same instance is one entry across rotations.
        return hmac.digest(self._ring.first, named, sha256)[:ID_BYTES].hex()

    def publish(self, draft: Draft, kept: Kept, *, quarantined: bool) -> str:
        """Give a complete draft its name, durably; the same entry twice is one."""
        entry = self.id_of(kept.arrival.sop_instance_uid, kept.received)
        directory = self._quarantine if quarantined else self._incoming
        draft.sync()
        new = True
        try:
            draft.publish(entry + SEALED, directory)
        except FileExistsError:
            with self._erasing():  # what is being erased is no place for a resend to be found
                self._finish_erasure(entry)
                try:
                    draft.publish(entry + SEALED, directory)
                except FileExistsError:
                    new = False  # the same bytes wait here already
        try:
            directory.sync()
        except OSError:
            if new:  # unsure of its name: a resend must not find it there and call it durable
                (directory.path / (entry + SEALED)).unlink(missing_ok=True)
            raise
        return entry

    # The line's side.

    def incoming(self) -> list[tuple[str, bool]]:
        """Return ids that wait for a worker, and whether an operator cleared their pixels."""
        return [
            (path.stem, path.suffix == CLEARED)
            for path in sorted(self._incoming.path.iterdir())
            if path.suffix in {SEALED, CLEARED}
        ]

    def entries(self) -> dict[str, bool]:
        """Return every id, and whether it is in quarantine; no entry is opened."""
        found = {path.stem: True for path in self._quarantine.path.glob(f"*{SEALED}")}
        return dict.fromkeys((entry for entry, _ in self.incoming()), False) | found

    @contextmanager
    def open(self, entry: str) -> Iterator[tuple[Kept, Iterator[bytes]]]:
        """Read an entry wherever it is; IntegrityFault if a byte of it was changed."""
        descriptor = self._opened(entry)
        try:
            decryptor = Decryptor(descriptor, *self._ring.keys)
            kept = Kept.of(decryptor.label())
            if self.id_of(kept.arrival.sop_instance_uid, kept.received) != entry:
                raise changed()
            yield kept, decryptor.chunks()
        finally:
            os.close(descriptor)

    @contextmanager
    def attempt(self, entry: str) -> Iterator[bool]:
        """Mark durably that an entry is being read; yield whether a try before never ended.

        An entry that takes more memory than there is kills whoever reads it, at every start anew.
        """
        mark = self._mark(entry)
        cut_short = mark.exists()
        if not cut_short:
            self.trying(entry)
        try:
            yield cut_short
        finally:
            mark.unlink(missing_ok=True)

    def trying(self, entry: str) -> None:
        """Set the mark durably: what follows may kill whoever does it."""
        self._mark(entry).touch(mode=0o600)
        self._incoming.sync()

    def survived(self, entry: str) -> None:
        """Take the mark away durably: what follows is repeatable, and asks for no more memory."""
        self._mark(entry).unlink(missing_ok=True)
        self._incoming.sync()

    def quarantine(self, entry: str, reason: Reason) -> None:
        """Move an incoming entry to quarantine; repeated after a crash, it ends the same."""
        path = self._find(entry)
        self._write_why(entry, reason)
        if path.parent != self._quarantine.path:
            path.replace(self._quarantine.path / (entry + SEALED))
            self._quarantine.sync()
            self._incoming.sync()

    def quarantined_before(self, moment: datetime) -> list[str]:
        """Return quarantined entries that were received, and last refused, before then."""
        found = (path.stem for path in self._quarantine.path.glob(f"*{SEALED}"))
        return sorted(entry for entry in found if self._since(entry) < moment)

    def erase(self, entry: str) -> None:
        """Destroy an entry: the key to its bytes first, then its name.

        What waits for the line goes last: cut short before that, the line does it again.
        """
        with self._erasing():
            self._erase(entry)

    @contextmanager
    def _erasing(self) -> Iterator[None]:
        """Let nobody publish under a name between the end of its key and its own."""
        descriptor = os.open(self._incoming.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _erase(self, entry: str) -> None:
        for path in reversed(self._places(entry)):
            if path.exists():
                descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
                try:
                    destroy(descriptor)
                finally:
                    os.close(descriptor)
                path.unlink()
        (self._quarantine.path / (entry + WHY)).unlink(missing_ok=True)
        self._incoming.sync()
        self._quarantine.sync()

    def sweep(self) -> None:
        """Finish erasures that a crash cut short between an entry's key and its name.

        A mark without an entry goes too: the same bytes may come again.
        """
        for directory in (self._incoming, self._quarantine):
            for path in list(directory.path.iterdir()):
                if path.suffix in {SEALED, CLEARED}:
                    with self._erasing():
                        self._finish_erasure(path.stem)
        waiting = {entry for entry, _ in self.incoming()}
        for mark in self._incoming.path.glob(f"*{TRYING}"):
            if mark.stem not in waiting:
                mark.unlink(missing_ok=True)

    def _finish_erasure(self, entry: str) -> None:
        """Take the name of an entry that is only a name any more."""
        try:
            with self.open(entry):
                return
        except Erased:
            self._erase(entry)
        except GatewayError:
            return  # damaged in another way, or just gone: not ours to judge

    # The operator's side.

    def list(self) -> list[Entry]:
        """Return what is in quarantine, the oldest first."""
        found = (path.stem for path in self._quarantine.path.glob(f"*{SEALED}"))
        return sorted(map(self._shown, found), key=lambda entry: entry.received)

    def show(self, entry: str) -> Entry:
        with self.open(entry) as (kept, _):
            reason = self._why(entry) or kept.reason
        return Entry(
            id=entry,
            received=kept.received_at.astimezone(UTC).isoformat(timespec="seconds"),
            sender=kept.arrival.calling_ae,
            reason=reason.reason,
            place=reason.place,
            advice=reason.advice,
            size_bytes=kept.size_bytes,
        )

    def latest_reason(self, entry: str) -> Reason | None:
        """Return why an entry was last quarantined, released since or not; None if it never was."""
        return self._why(entry)

    def release(self, entry: str) -> None:
        """Give a quarantined entry back to the line; its pixels count as looked at."""
        path = self._quarantined(entry)
        self._mark(entry).unlink(missing_ok=True)
        path.replace(self._incoming.path / (entry + CLEARED))
        self._incoming.sync()
        self._quarantine.sync()

    def drop(self, entry: str) -> None:
        """Erase a quarantined entry for ever."""
        self._quarantined(entry)
        self.erase(entry)

    def counts(self) -> dict[str, int]:
        return {
            "incoming": len(self.incoming()),
            "quarantined": sum(1 for _ in self._quarantine.path.glob(f"*{SEALED}")),
        }

    def _places(self, entry: str) -> tuple[Path, Path, Path]:
        if not ID_FORM.fullmatch(entry):
            raise NoSuchEntry
        incoming, quarantine = self._incoming.path, self._quarantine.path
        return (
            incoming / (entry + SEALED),
            incoming / (entry + CLEARED),
            quarantine / (entry + SEALED),
        )

    def _mark(self, entry: str) -> Path:
        return self._incoming.path / (entry + TRYING)

    def _find(self, entry: str) -> Path:
        for path in self._places(entry):
            if path.exists():
                return path
        raise NoSuchEntry

    def _opened(self, entry: str) -> int:
        while True:
            with suppress(FileNotFoundError):  # moved since it was found: look again
                return os.open(self._find(entry), os.O_RDONLY | os.O_CLOEXEC)

    def _quarantined(self, entry: str) -> Path:
        path = self._places(entry)[2]
        if not path.exists():
            raise NoSuchEntry
        return path

    def _shown(self, entry: str) -> Entry:
        """Show an entry, a damaged one too: it must not hide the others."""
        try:
            return self.show(entry)
        except IntegrityFault:
            advice = "restore the vault from a backup, or drop the entry"
            return Entry(entry, "", "", "it does not open: changed or cut", "", advice, 0)

    def _since(self, entry: str) -> datetime:
        """Return when an operator's time to decide began."""
        why = self._quarantine.path / (entry + WHY)
        try:
            with self.open(entry) as (kept, _):
                since = kept.received_at
        except IntegrityFault:
            since = _changed_at(self._quarantine.path / (entry + SEALED))
        return max(since, _changed_at(why)) if why.exists() else since

    def _write_why(self, entry: str, reason: Reason) -> None:
        nonce = os.urandom(12)
        text = json.dumps(asdict(reason), ensure_ascii=False).encode()
        sealed = AESGCM(self._ring.newest).encrypt(nonce, text, _WHY_PURPOSE + entry.encode())
        draft = self._quarantine.draft()
        draft.write(nonce, sealed)
        draft.sync()
        draft.supersede(entry + WHY)
        draft.close()
        self._quarantine.sync()

    def _why(self, entry: str) -> Reason | None:
        path = self._quarantine.path / (entry + WHY)
        if not path.exists():
            return None
        raw = path.read_bytes()
        for key in self._ring.keys:
            with suppress(InvalidTag):
                text = AESGCM(key).decrypt(raw[:12], raw[12:], _WHY_PURPOSE + entry.encode())
                return Reason(**json.loads(text))
        raise changed()


def _changed_at(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


class VaultWriter:
    """Encrypts one instance into the vault while it arrives."""

    def __init__(self, vault: Vault, draft: Draft, encryptor: Encryptor) -> None:
        self._vault = vault
        self._draft = draft
        self._encryptor = encryptor
        draft.write(encryptor.head, bytes(BODY_AT - LABEL_AT))

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        for sealed in self._encryptor.update(chunk):
            self._draft.write(sealed)

    def commit(self, kept: Kept, *, quarantined: bool) -> str:
        """Finish the file and make it durable under its id, which is returned."""
        self._draft.write(self._encryptor.finish())
        self._draft.patch(self._encryptor.label(kept.label()), LABEL_AT)
        entry = self._vault.publish(self._draft, kept, quarantined=quarantined)
        self._draft.close()
        return entry

    def abort(self) -> None:
        self._draft.close()
