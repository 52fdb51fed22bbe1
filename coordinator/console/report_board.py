"""What the pages of reports show: a test's figures, whether they hold, and two products beside."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from coordinator.console.job_board import JobBoard, wanted_of
from coordinator.console.job_shown import JobLine
from coordinator.console.report_figures import Compared, Row, beside, compared
from coordinator.errors import IntegrityFault, InvalidRequest
from coordinator.evaluation.checking import Signature, check
from coordinator.evaluation.document import Report
from coordinator.jobs.dossier import Dossiers
from coordinator.model import Caller, JobRecord

PATIENCE_SECONDS = 0.12  # a page that would wait longer says that the report is being made
PINS_AT_MOST = 64
KEY_CHARACTERS = 64


class Made(Protocol):
    """A report as the coordinator signs it."""

    @property
    def report(self) -> Report: ...
    @property
    def content(self) -> bytes: ...
    @property
    def public_key(self) -> bytes: ...
    @property
    def signature(self) -> bytes: ...
    @property
    def sha256(self) -> str: ...


class Making(Protocol):
    """Where reports are made; a report that was made is there at once."""

    def begin(self, record: JobRecord) -> Awaitable["asyncio.Task[Made]"]: ...


@dataclass(frozen=True, slots=True)
class ReportLine:
    job: JobLine
    test_set: str  # empty where the job has no protocol, and so no report
    compares: str  # the bundle of the product it is compared with

    @property
    def is_there(self) -> bool:
        return bool(self.test_set) and self.job.is_over


@dataclass(frozen=True, slots=True)
class ReportShown:
    job: JobLine
    hospitals: int
    made: Made | None  # None: it is being made


@dataclass(frozen=True, slots=True)
class Verified:
    """What a check of signatures and figures found; `fault` is empty where all of it holds."""

    fault: str
    keys: Mapping[str, str]  # by signer
    compared: frozenset[str]  # whose key was the one that was known


@dataclass(frozen=True, slots=True)
class Beside:
    first: ReportShown
    second: ReportShown
    rows: Sequence[Row]
    same_protocol: bool
    paired: str = ""  # the job whose report compares the two on the same patients; or empty
    compared: Sequence[Compared] = ()  # by that report, its own product first


class ReportBoard:
    def __init__(self, jobs: JobBoard, making: Making, dossiers: Dossiers) -> None:
        self._jobs = jobs
        self._making = making
        self._dossiers = dossiers

    async def reports(self, place: str, by: Caller) -> tuple[list[ReportLine], str]:
        """List evaluations, the newest first, and say where the next page begins."""
        found = await self._jobs.jobs(wanted_of("", "evaluation", "", place), by)
        return [await self._line(job, by) for job in found.lines], found.following

    async def show(self, job_id: str, by: Caller) -> ReportShown:
        record = await self._jobs.visible(job_id, by)
        job = await self._jobs.line(record)
        making = await self._making.begin(record)
        done, _ = await asyncio.wait({making}, timeout=PATIENCE_SECONDS)
        hospitals = len(await self._jobs.sites(record))
        return ReportShown(job, hospitals, making.result() if done else None)

    async def whole(self, job_id: str, by: Caller) -> Made:
        """Return a report however long it takes: for a download or a check."""
        record = await self._jobs.visible(job_id, by)
        return await asyncio.shield(await self._making.begin(record))

    async def verify(self, job_id: str, by: Caller, pinned: Mapping[str, str]) -> Verified:
        """Check a report as `radfed job verify` does, from its bytes."""
        made = await self.whole(job_id, by)
        sealed = seal(made)
        keys = {
            part.site: part.public_key for part in made.report.evidence.sites if part.statistics
        } | {"coordinator": made.public_key.hex()}
        try:
            await asyncio.to_thread(check, made.content, sealed, pinned)
        except IntegrityFault as fault:
            return Verified(str(fault), keys, frozenset())
        return Verified("", keys, frozenset(keys.keys() & pinned.keys()))

    async def beside(self, first: str, second: str, by: Caller) -> Beside:
        one, other = await self.show(first, by), await self.show(second, by)
        if one.made is None or other.made is None:
            return Beside(one, other, (), same_protocol=False)
        reports = one.made.report, other.made.report
        digests = {report.evidence.protocol_sha256 for report in reports}
        rows, alike, paired = beside(*reports), len(digests) == 1, _paired(*reports)
        if paired is None or paired.comparison is None:
            return Beside(one, other, rows, alike)
        return Beside(one, other, rows, alike, paired.evidence.job, compared(paired.comparison))

    async def _line(self, job: JobLine, by: Caller) -> ReportLine:
        record = await self._jobs.visible(job.job_id, by)
        protocol = (await self._dossiers.of(record.bundle_digest)).manifest.protocol
        if protocol is None:
            return ReportLine(job, "", "")
        return ReportLine(job, protocol.test_set, protocol.compare_with or "")


def seal(made: Made) -> bytes:
    """Return the file that lies beside a report."""
    said = Signature.model_construct(
        public_key=made.public_key.hex(), signature=made.signature.hex()
    )
    return said.model_dump_json(indent=1).encode()


def read_pins(text: str) -> dict[str, str]:
    """Read keys somebody knows by another way: a line `NAME=HEX` for each."""
    pinned = {}
    for line in text.splitlines():
        if not line.strip():
            continue
        name, separator, value = line.partition("=")
        key = value.strip().lower()
        if not separator or len(key) != KEY_CHARACTERS or not set(key) <= set("0123456789abcdef"):
            raise InvalidRequest("a key is one line: NAME=HEX, with 64 characters of hex")
        pinned[name.strip()] = key
    if len(pinned) > PINS_AT_MOST:
        raise InvalidRequest("too many keys for a form: use `radfed job verify --key`")
    return pinned


def _paired(first: Report, second: Report) -> Report | None:
    """Return the report of the two whose protocol names the other's bundle, and that compared."""
    for one, other in ((first, second), (second, first)):
        if one.comparison is not None and one.comparison.other_bundle == other.evidence.bundle:
            return one
    return None
