"""The proof step: bytes accounted for, nothing in them, and a control that shows the scan sees."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.demo import proof
from deploy.demo.centre import Centre
from deploy.demo.failure import DemoFailed
from deploy.demo.hospital import Hospital
from deploy.demo.scan import Findings, Scanner
from deploy.demo.screen import Screen

BALANCE_SECONDS = 30.0
POLL_SECONDS = 0.5


def prove(
    screen: Screen,
    centre: Centre,
    hospitals: Sequence[Hospital],
    pool: ThreadPoolExecutor,
    *,
    undisturbed: bool,
) -> None:
    """Account for every byte that reached the coordinator, then look into all of them."""
    _balance_all(screen, centre, hospitals, pool, undisturbed=undisturbed)
    with screen.step("scan") as step:
        devices = {name for h in hospitals for name in h.archive.devices}
        texts = sorted({text for h in hospitals for text in h.archive.texts} - devices)
        images = proof.scannable({n: f for h in hospitals for n, f in h.archive.images.items()})
        honest = proof.from_hospitals(centre.record)
        scanner = Scanner(texts, images)
        found = scanner.scan(honest)
        step.says = (
            f"{len(honest):,} bytes for {len(texts)} identifying texts in every charset and for "
            f"pixels of {len(images)} images: {_said(found)}"
        )
    _keep(screen, "scan", found)
    with screen.step("control") as step:
        leaky = scanner.scan(proof.leaky_control(honest, texts, images, seed=len(honest)))
        step.says = f"the same bytes with all of it hidden inside: {_said(leaky)}"
    _keep(screen, "control", leaky)
    with screen.step("at rest") as step:
        resting = _scan_disks(hospitals, texts)
        step.says = f"{resting.scanned_bytes:,} bytes on the hospitals' own disks: {_said(resting)}"
    _keep(screen, "at_rest", resting)
    if not found.clean or resting.texts:
        raise DemoFailed(
            f"what must not leave was found: in what was received {_where(found)}; "
            f"on the hospitals' disks {_where(resting)}"
        )
    if set(leaky.texts) != set(texts) or set(leaky.pixel_runs) != set(images):
        raise DemoFailed("the scan missed something in the leaky control: it proves nothing")


def _balance_all(
    screen: Screen,
    centre: Centre,
    hospitals: Sequence[Hospital],
    pool: ThreadPoolExecutor,
    *,
    undisturbed: bool,
) -> None:
    """Compare what was received from each hospital with what its ledger says was sent."""
    with screen.step("ledgers") as step:
        found = list(pool.map(lambda h: _balance(centre.record, h), hospitals))
        rows = {h.site: pair for h, pair in zip(hospitals, found, strict=True)}
        same = all(received == sent for received, sent in found)
        step.says = (
            f"{sum(received for received, _ in found):,} bytes reached the coordinator; "
            + ("each hospital's ledger says the same:" if same else "the ledgers say:")
        )
    screen.table(
        ("hospital", "received", "in its ledger"),
        [[site, f"{received:,}", f"{sent:,}"] for site, (received, sent) in rows.items()],
    )
    screen.keep("bytes", {s: {"received": got, "ledger": sent} for s, (got, sent) in rows.items()})
    # A send attempt that a crash cut short is in the ledger and never arrived: never the reverse.
    if not same and (undisturbed or any(received > sent for received, sent in found)):
        raise DemoFailed(f"received and sent differ: {rows}")


def _balance(record: Path, hospital: Hospital) -> tuple[int, int]:
    """Return (received, sent) of one moment; asked again while a message is on its way.

    Heartbeats come while the ledger is read: what it says must be what had been received at some
    moment since, to the byte.
    """
    deadline = time.monotonic() + BALANCE_SECONDS
    while True:
        before = proof.received_totals(record, hospital.site)[-1]
        sent = hospital.ledger_bytes()
        totals = proof.received_totals(record, hospital.site)
        if sent >= before and sent in totals:
            return sent, sent
        if time.monotonic() > deadline:
            return totals[-1], sent
        time.sleep(POLL_SECONDS)


def _scan_disks(hospitals: Sequence[Hospital], texts: Sequence[str]) -> Findings:
    """Look for identifying texts in all that the gateways wrote: studies, index, vault, jobs."""
    scanner = Scanner(texts, {})
    scanned = 0
    found: dict[str, str] = {}
    for hospital in hospitals:
        files = (p for p in hospital.data.rglob("*") if p.is_file() and not p.is_symlink())
        held = b"\n".join(map(_content, files))
        scanned += len(held)
        found |= scanner.scan_plainly(held).texts
    return Findings(scanned, found)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # moved or removed by the gateway, which goes on working
        return b""


def _said(found: Findings) -> str:
    if found.clean:
        return "nothing"
    return f"{len(found.texts)} texts and runs of {len(found.pixel_runs)} images"


def _where(found: Findings) -> str:
    """Say what was found without saying it: with --data it may be a real patient's."""
    if found.clean:
        return "nothing"
    return f"{_said(found)}, texts written as {', '.join(sorted(set(found.texts.values())))}"


def _keep(screen: Screen, name: str, found: Findings) -> None:
    figures = {"texts": len(found.texts), "images": len(found.pixel_runs)}
    screen.keep(name, {"bytes": found.scanned_bytes} | figures)
