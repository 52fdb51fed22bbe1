"""`deid try`: a dry run of real files through real custody, in a directory that is thrown away.

Its keys are made for the run and kept nowhere: a report that shows originals beside pseudonyms of
the site would be a list of who is who.
"""

import secrets
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from gateway.app import showing
from gateway.app.build import build_pixel_look, build_profile
from gateway.config import GatewayConfig
from gateway.deid.engine import Deidentifier
from gateway.deid.explaining import Explanation, explain
from gateway.deid.profile import Profile
from gateway.deid.stream import StreamEngine
from gateway.intake.importer import SKIPPED, UNREADABLE, source_of, take
from gateway.intake.part10 import NotPart10
from gateway.intake.rules import Admission
from gateway.line.budget import HeaderMemory
from gateway.line.custody import Custody
from gateway.line.reference import SecondLook, Waiting
from gateway.line.terms import Means, Unaudited
from gateway.store.files import Store
from gateway.vault.vault import Vault

SHOWN_OF_A_KIND = 2  # headers in full
SHOWN_AT_MOST = 40
LARGEST_SHOWN = 256 << 20
ONE_OF_A_SERIES = "its series' face is removed once it is whole; here it is one file alone"
KEPT, QUARANTINED, NOT_TAKEN = "kept", "quarantined", "not taken"


@dataclass(frozen=True, slots=True)
class Row:
    """One element: what it was, what it is, by which rule and why."""

    path: str
    keyword: str
    action: str
    rule: str
    why: str
    before: str
    after: str


@dataclass(slots=True)
class Tried:
    """What became of one file."""

    file: str
    outcome: str
    lane: str = ""
    reason: str = ""
    place: str = ""
    advice: str = ""
    modality: str = ""
    device: str = ""
    pixels: str = ""  # whether they are as they were
    rows: list[Row] = field(default_factory=list)
    before: str | None = None  # thumbnails
    after: str | None = None

    def told(self) -> dict[str, str]:
        """Return what a command prints: no value of a header."""
        names = ("file", "outcome", "lane", "reason", "place", "advice", "modality", "pixels")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Trial:
    profile: Profile
    files: list[Tried]
    values: bool
    at: str

    def summary(self) -> dict[str, Any]:
        outcomes = Counter(one.outcome for one in self.files)
        reasons = Counter(one.reason for one in self.files if one.outcome == QUARANTINED)
        return {
            "profile": self.profile.name,
            "digest": self.profile.digest,
            "files": len(self.files),
            "kept": outcomes[KEPT],
            "quarantined": outcomes[QUARANTINED],
            "not_taken": outcomes[NOT_TAKEN],
            "lanes": dict(Counter(one.lane for one in self.files if one.lane)),
            "reasons": dict(reasons.most_common()),
            "pixels_changed": sum(one.pixels == "changed" for one in self.files),
        }


def try_directory(
    config: GatewayConfig,
    source: Path,
    profile: str | None,
    progress: Callable[[int, int], None],
    *,
    values: bool,
) -> Trial:
    """Take every file as if a peer had sent it, and remember what became of it; store nothing."""
    if profile is not None:
        config = config.model_copy(
            update={"deid": config.deid.model_copy(update={"profile": profile})}
        )
    chosen = build_profile(config)
    config.run_dir.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="try-", dir=config.run_dir) as folder,
        source_of(source) as opened,
    ):
        house = _House(config, chosen, Path(folder), values=values)
        names = opened.names()
        tried = []
        for done, name in enumerate(names, 1):
            with suppress(_Skipped):
                tried.append(house.take(name, lambda name=name: opened.open(name)))  # type: ignore[misc] # bound now
            progress(done, len(names))
    return Trial(chosen, tried, values, datetime.now(UTC).isoformat(timespec="seconds"))


class _Skipped(Exception):
    """An index of media: no instance."""


class _House:
    """A store, a vault and both engines under keys of the moment."""

    def __init__(
        self, config: GatewayConfig, profile: Profile, folder: Path, *, values: bool
    ) -> None:
        pseudonym, shift, seal, vault = (secrets.token_bytes(32) for _ in range(4))
        self._profile = profile
        self._values = values
        self._admission, self._called = Admission(config.intake), config.intake.ae_title
        self._store = Store(folder / "store", seal)
        self._vault = Vault(folder / "vault", vault)
        engine = Deidentifier(profile, pseudonym, shift)
        stream = StreamEngine(profile, pseudonym, shift)
        self._custody = Custody(
            self._store,
            self._vault,
            engine,
            stream=stream,
            header_limit_bytes=config.intake.header_limit_bytes,
            reserve_bytes=config.disk.reserve_bytes,
        )
        means = Means(
            store=self._store,
            vault=self._vault,
            engine=engine,
            header_limit_bytes=config.intake.header_limit_bytes,
            reserve_bytes=config.disk.reserve_bytes,
            header_memory=HeaderMemory(0),
            audit=Unaudited(),
            now=lambda: datetime.now(UTC),
            whole_bytes_at_most=config.vault.whole_bytes_at_most,
        )
        self._second_look = SecondLook(
            means, lambda _received: False, build_pixel_look(config), lambda: False
        )
        self._shown: Counter[tuple[str, ...]] = Counter()

    def take(self, name: str, open_file: Callable[[], IO[bytes]]) -> Tried:
        try:
            with open_file() as file:
                kind = take(file, self._custody, self._admission, self._called)
        except NotPart10 as fault:
            return Tried(name, NOT_TAKEN, reason=str(fault))
        except UNREADABLE as fault:
            return Tried(name, NOT_TAKEN, reason=f"it cannot be read ({type(fault).__name__})")
        if kind == SKIPPED:
            raise _Skipped
        tried = self._settled(name)
        self._show(tried, open_file)
        self._forget()
        return tried

    def _settled(self, name: str) -> Tried:
        """Let the second look decide what the first has not, as the line would."""
        waiting = self._vault.incoming()
        for waits, _cleared in waiting:
            if isinstance(self._second_look.settle(waits, cleared=False), Waiting):
                return Tried(name, KEPT, "vault", ONE_OF_A_SERIES)
        for entry in self._vault.list():
            return Tried(name, QUARANTINED, "vault", entry.reason, entry.place, entry.advice)
        return Tried(name, KEPT, "vault" if waiting else "express")

    def _show(self, tried: Tried, open_file: Callable[[], IO[bytes]]) -> None:
        sent = _read(open_file)
        kept = next((_read(lambda path=path: path.open("rb")) for path in self._files()), None)  # type: ignore[misc] # bound now
        if sent is None:
            return
        tried.modality = showing.plain(sent.get("Modality", ""))
        words = (sent.get("Manufacturer", ""), sent.get("ManufacturerModelName", ""))
        tried.device = " ".join(filter(None, map(showing.plain, words)))
        if kept is not None:
            same = sent.get("PixelData") == kept.get("PixelData")
            tried.pixels = "unchanged" if same else "changed"
        kind = (str(sent.get("SOPClassUID", "")), tried.device, tried.outcome, tried.reason)
        shown = self._shown[kind]
        if shown >= SHOWN_OF_A_KIND or self._shown.total() >= SHOWN_AT_MOST:
            return
        self._shown[kind] += 1
        tried.before = showing.thumbnail(sent) if self._values else None
        tried.after = showing.thumbnail(kept) if kept is not None else None
        tried.rows = list(_rows(self._profile, sent, kept, values=self._values))

    def _files(self) -> list[Path]:
        return self._store.arrived(at_most=-1)

    def _forget(self) -> None:
        for path in self._files():
            path.unlink()
        for entry in self._vault.entries():
            self._vault.erase(entry)


def _read(open_file: Callable[[], IO[bytes]]) -> Dataset | None:
    """Read a file whole for show; None where pydicom cannot, or nobody would want it in memory."""
    with suppress(Exception), open_file() as file:
        raw = file.read(LARGEST_SHOWN + 1)
        return dcmread(BytesIO(raw)) if len(raw) <= LARGEST_SHOWN else None
    return None


def _rows(profile: Profile, sent: Dataset, kept: Dataset | None, *, values: bool) -> Iterator[Row]:
    was, now = showing.values(sent), showing.values(kept) if kept is not None else {}
    met: set[str] = set()
    for told in explain(profile, sent):
        if told.path.startswith(("(0002", "preamble", "instance")) or told.path in met:
            continue
        met.add(told.path)
        yield _row(told, was.get(told.path, "") if values else "", now.get(told.path, ""))
    for path in sorted(now.keys() - met):  # a place in items that others left
        yield Row(path, "", "+", "", "", "", now[path])


def _row(told: Explanation, before: str, after: str) -> Row:
    return Row(told.path, told.keyword, told.action, told.rule, told.why, before, after)
