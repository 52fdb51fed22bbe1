"""The proof step: bytes accounted for, nothing in them, and a control that shows the scan sees."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.demo import proof
from deploy.demo.balance import balance, on_the_wire
from deploy.demo.centre import Centre
from deploy.demo.failure import DemoFailed
from deploy.demo.hospital import Hospital
from deploy.demo.scan import Findings, Scanner
from deploy.demo.screen import Screen


def prove(
    screen: Screen,
    centre: Centre,
    hospitals: Sequence[Hospital],
    pool: ThreadPoolExecutor,
    *,
    undisturbed: bool,
) -> None:
    """Account for every byte that left for the coordinator, then look into all of them."""
    balance(screen, centre, hospitals, pool, undisturbed=undisturbed)
    with screen.step("scan") as step:
        texts = sorted({text for h in hospitals for text in h.archive.texts})
        images = proof.scannable({n: f for h in hospitals for n, f in h.archive.images.items()})
        honest = b"".join(on_the_wire(h).everything() for h in hospitals)
        scanner = Scanner(texts, images)
        found = scanner.scan(honest)
        step.says = (
            f"{len(honest):,} bytes of the wire, its framing too, for {len(texts)} identifying "
            f"texts in every charset and for pixels of {len(images)} images: {_said(found)}"
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
        raise DemoFailed(f"planted data was found: {_where(found)} {_where(resting)}")
    if set(leaky.texts) != set(texts) or set(leaky.pixel_runs) != set(images):
        raise DemoFailed("the scan missed something in the leaky control: it proves nothing")


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
    texts = [f"{text} ({how})" for text, how in list(found.texts.items())[:5]]
    return ", ".join([*texts, *(f"pixels of {name}" for name in list(found.pixel_runs)[:5])])


def _keep(screen: Screen, name: str, found: Findings) -> None:
    figures = {"texts": len(found.texts), "images": len(found.pixel_runs)}
    screen.keep(name, {"bytes": found.scanned_bytes} | figures)
