"""Quarantine for the console: labels opened once and kept, so that a long shelf turns quickly."""

import threading
import time
from collections import Counter
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from gateway.errors import IntegrityFault
from gateway.vault.entry import Entry
from gateway.vault.vault import NoSuchEntry, Vault

PAGE = 50
AT_ONCE = 200  # decisions of one press: each is on the trail by itself
KEPT_SECONDS = 600.0  # a reason may change while an entry is tried again
DAMAGED = "it does not open: changed or cut"
CURE = "restore the vault from a backup, or drop the entry"


class QuarantineShelf:
    def __init__(self, vault: Vault, keep_days: int) -> None:
        self._vault = vault
        self._keep_days = keep_days
        self._known: dict[str, tuple[Entry, float]] = {}
        self._lock = threading.Lock()

    def page(self, reason: str, sender: str, after: str) -> dict[str, Any]:
        """Return a page of entries after a key, and how many wait for which reason and device."""
        everything = self._entries()
        chosen = [entry for entry in everything if _fits(entry, reason, sender)]
        from_here = [entry for entry in chosen if _key(entry) > after]
        rows = [self._row(entry) for entry in from_here[:PAGE]]
        return {
            "rows": rows,
            "total": len(everything),
            "chosen": len(chosen),
            "last": _key(from_here[PAGE - 1]) if len(from_here) > PAGE else "",
            "reasons": Counter(entry.reason for entry in everything).most_common(100),
            "senders": Counter(entry.sender for entry in everything).most_common(100),
            "at_once": AT_ONCE,
        }

    def show(self, entry: str) -> dict[str, Any]:
        try:
            found = self._vault.show(entry)
        except IntegrityFault:
            found = _damaged(entry)
        return self._row(found)

    def chosen(self, reason: str, sender: str) -> tuple[list[str], int]:
        """Return the entries one press decides about, and how many are left after them."""
        fits = [entry.id for entry in self._entries() if _fits(entry, reason, sender)]
        return fits[:AT_ONCE], max(len(fits) - AT_ONCE, 0)

    def forget(self, entry: str) -> None:
        with self._lock:
            self._known.pop(entry, None)

    def _entries(self) -> list[Entry]:
        now = time.monotonic()
        here = [entry for entry, waits in self._vault.entries().items() if waits]
        with self._lock:
            known = {entry: self._known[entry] for entry in here if entry in self._known}
            for entry in here:
                if entry not in known or now - known[entry][1] > KEPT_SECONDS:
                    try:
                        known[entry] = (self._vault.show(entry), now)
                    except IntegrityFault:
                        known[entry] = (_damaged(entry), now)
                    except NoSuchEntry:
                        known.pop(entry, None)  # decided about meanwhile
            self._known = known
            return sorted((entry for entry, _at in known.values()), key=_key)

    def _row(self, entry: Entry) -> dict[str, Any]:
        expires = None
        if self._keep_days and entry.received:
            expires = datetime.fromisoformat(entry.received) + timedelta(days=self._keep_days)
        return asdict(entry) | {"expires": expires}


def _damaged(entry: str) -> Entry:
    return Entry(entry, "", "", DAMAGED, "", CURE, 0)


def _fits(entry: Entry, reason: str, sender: str) -> bool:
    return reason in ("", entry.reason) and sender in ("", entry.sender)


def _key(entry: Entry) -> str:
    return f"{entry.received} {entry.id}"
