"""What becomes of a stored file that is damaged: kept for an operator, out of the way."""

from datetime import datetime
from hashlib import sha256
from pathlib import Path

from gateway.line.terms import Audit
from gateway.model import Arrival, RealUID
from gateway.store.files import Store
from gateway.vault.entry import Kept, Reason
from gateway.vault.vault import Vault

SEAL_BROKEN = Reason(
    "a stored file's seal does not open: it was changed on the disk",
    "(0002,0102)",
    "send its study again from the PACS, then drop this entry",
)
CHANGED = Reason(
    "a stored file is not what was stored: its bytes were changed or cut on the disk",
    "",
    "send its study again from the PACS, then drop this entry",
)
MISPLACED = Reason(
    "a stored file lies under the name of another",
    "",
    "send its study again from the PACS, then drop this entry",
)
NOT_REKEYED = Reason(
    "a rotated key's new version could not be brought to this stored file",
    "",
    "send its study again from the PACS, then drop this entry",
)


def set_aside(
    store: Store,
    vault: Vault,
    path: Path,
    audit: Audit,
    now: datetime,
    reason: Reason = SEAL_BROKEN,
) -> str:
    """Move a file nobody can use into quarantine, durably; a resend of it is stored again."""
    raw = path.read_bytes()
    writer = vault.writer()
    try:
        writer.write(raw)
        entry = writer.commit(
            Kept(
                # Whose it was stands in the seal alone; the file's name keeps entries apart.
                arrival=Arrival("", RealUID(path.stem), "", "", ""),
                received_at=now,
                received=sha256(raw).hexdigest(),
                size_bytes=len(raw),
                reason=reason,
                form="part10",
            ),
            quarantined=True,
        )
    finally:
        writer.abort()
    audit.record("stored_file_set_aside", entry=entry, file=path.name)
    store.remove(str(path.relative_to(store.directory)))
    return entry
