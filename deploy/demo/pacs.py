"""A PACS stand-in: pushes an archive by C-STORE over DICOM TLS until every copy is acknowledged.

`python -m deploy.demo.pacs ARCHIVE --to HOST:PORT --ca FILE --certificate FILE --key FILE`
prints one JSON document. It keeps what was not answered with success, as a PACS does, and sends
it again on the next association (PS3.4 B.2.3).
"""

import argparse
import json
import ssl
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context

MOST_CONTEXTS = 128  # PS3.8 9.3.2.2: odd identifiers from 1 to 255
PAUSE_SECONDS = 0.5
SUCCESS = 0x0000
WARNINGS = frozenset({0xB000, 0xB006, 0xB007})  # stored all the same (PS3.4 B.2.3)


@dataclass(frozen=True, slots=True)
class Door:
    """Where to push to, and with which identity."""

    host: str
    port: int
    calling: str
    called: str
    ca: Path
    certificate: Path
    key: Path


@dataclass(slots=True)
class Outcome:
    """What became of a push."""

    acknowledged: int = 0
    sent: int = 0
    associations: int = 0
    refused: Counter[str] = field(default_factory=Counter)


def push(archive: Sequence[Path], door: Door, deadline: float) -> Outcome:
    """Send every file until each is acknowledged or refused for good, or the deadline passes."""
    _config.STORE_SEND_CHUNKED_DATASET = True  # as stored: no re-encoding on the way
    _config.LOG_HANDLER_LEVEL = "none"
    contexts = _contexts(archive)
    outcome = Outcome()
    waiting = list(archive)
    while waiting and time.monotonic() < deadline:
        association = _associate(door, contexts)
        if association is None:
            time.sleep(PAUSE_SECONDS)
            continue
        outcome.associations += 1
        waiting = list(_send_all(association, waiting, outcome))
        if _up(association):
            association.release()
        if waiting:
            time.sleep(PAUSE_SECONDS)
    return outcome


def _associate(door: Door, contexts: list[PresentationContext]) -> Association | None:
    entity = AE(door.calling)
    entity.requested_contexts = contexts
    entity.connection_timeout = entity.acse_timeout = 10
    entity.dimse_timeout = entity.network_timeout = 15
    context = ssl.create_default_context(cafile=str(door.ca))
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # BCP 195, PS3.15 B.12
    context.load_cert_chain(door.certificate, door.key)
    association = entity.associate(
        door.host, door.port, ae_title=door.called, tls_args=(context, door.host), max_pdu=1 << 18
    )
    return association if association.is_established else None


def _send_all(
    association: Association, waiting: Sequence[Path], outcome: Outcome
) -> Iterator[Path]:
    """Send each; yield those the receiver did not take into custody."""
    for path in waiting:
        if not _up(association):
            yield path
            continue
        try:
            status = association.send_c_store(path)
        except (RuntimeError, ValueError, OSError) as fault:
            if _up(association):  # the peer took no context for it
                outcome.refused[type(fault).__name__] += 1
            else:
                yield path
            continue
        outcome.sent += 1
        code = status.get("Status")
        if code == SUCCESS or code in WARNINGS:
            outcome.acknowledged += 1
        elif code is None or code >> 8 == 0xA7:  # noqa: PLR2004 - no answer, or out of resources
            yield path
        else:
            outcome.refused[f"0x{code:04X}"] += 1


def _up(association: Association) -> bool:
    """Say whether it still stands: the peer, or the network, may end it at any moment."""
    return bool(association.is_established)


def _contexts(archive: Sequence[Path]) -> list[PresentationContext]:
    """Return one context for each pair of SOP class and transfer syntax in the archive."""
    pairs: dict[tuple[str, str], None] = {}
    for path in archive:
        meta = dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True).file_meta
        pairs.setdefault((meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID))
    return [build_context(sop_class, syntax) for sop_class, syntax in list(pairs)[:MOST_CONTEXTS]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--to", required=True, metavar="HOST:PORT")
    parser.add_argument("--calling", default="PACS")
    parser.add_argument("--called", default="RADFED")
    parser.add_argument("--ca", type=Path, required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=120.0)
    told = parser.parse_args()
    host, _, port = told.to.rpartition(":")
    door = Door(host, int(port), told.calling, told.called, told.ca, told.certificate, told.key)
    archive = sorted(path for path in told.archive.rglob("*") if path.is_file())
    began = time.monotonic()
    outcome = push(archive, door, began + told.seconds)
    report = {
        "files": len(archive),
        "acknowledged": outcome.acknowledged,
        "sent": outcome.sent,
        "associations": outcome.associations,
        "refused": dict(outcome.refused),
        "seconds": round(time.monotonic() - began, 3),
    }
    sys.stdout.write(json.dumps(report) + "\n")
    return 0 if outcome.acknowledged == len(archive) else 1


if __name__ == "__main__":
    sys.exit(main())
