"""Where the reference standard says findings are: read from stored objects at a look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.audit import AuditTrail
from gateway.errors import IntegrityFault
from gateway.evaluate.detections import merged
from gateway.evaluate.overlap import Mask
from gateway.evaluate.votes import Votes
from gateway.model import Box
from gateway.store.drawings import drawing_of
from gateway.store.grids import AXES, Grid, grid_of
from gateway.store.strata import Strata


@dataclass(frozen=True, slots=True)
class Reference:
    """One case's grid, and what each reader drew on it."""

    grid: Grid
    boxes: Mapping[str, Sequence[Box]]
    votes: Votes | None  # None where nobody drew a mask

    def findings(self) -> list[Box]:
        """Return one box for each finding; a mask's connected parts are findings of their own."""
        return merged({reader: self._boxes(reader) for reader in self.boxes})

    def mask(self) -> Mask | None:
        """Return the voxels that at least half of those readers drew who drew masks."""
        return None if self.votes is None else self.votes.voted()

    def _boxes(self, reader: str) -> list[Box]:
        drawn = list(self.boxes[reader])
        if self.votes is None or reader not in self.votes.readers:
            return drawn
        return [*drawn, *_parts(self.votes.mask(reader), self.grid)]


class References:
    """Reads the store; an object that cannot be read is on the audit trail, not in the figures."""

    def __init__(self, strata: Strata, store_dir: Path, audit: AuditTrail) -> None:
        self._strata = strata
        self._store_dir = store_dir
        self._audit = audit

    def who_drew(self, cases: Sequence[str], label: str) -> dict[str, list[tuple[str, str]]]:
        return self._strata.drawn(cases, label)

    def of(
        self, files: Sequence[Path], drawn: Sequence[tuple[str, str]], label: str
    ) -> Reference | None:
        """Return a case's reference; None where a word of it cannot be laid on its images."""
        boxes: dict[str, list[Box]] = {}
        votes = None
        try:
            grid = grid_of(files)
            for reader, path in drawn:
                found = drawing_of(self._store_dir / path, label, grid)
                boxes.setdefault(reader, []).extend(found.boxes)
                if found.mask is not None:
                    votes = votes or Votes(grid.shape)
                    votes.add(reader, found.mask)
        except (IntegrityFault, OSError) as fault:
            self._audit.record("reference_unreadable", why=_why(fault))
            return None
        return Reference(grid, boxes, votes)


def _why(fault: Exception) -> str:
    return str(fault) if isinstance(fault, IntegrityFault) else "a file is not there any more"


def _parts(mask: Mask, grid: Grid) -> list[Box]:
    """Return the boxes of parts that touch, at a corner too."""
    import numpy as np
    from scipy.ndimage import find_objects, label

    numbered, _count = label(mask, structure=np.ones((3,) * AXES))
    return [
        grid.box([each.start for each in place], [each.stop - 1 for each in place])
        for place in find_objects(numbered)
    ]
