"""Where faces were found: one small file for each series whose face was removed.

    .faces/<2 hex>/<series>.json    the surface behind which nothing was touched

It says no more than the cleaned slices show themselves, and lets a slice that comes later be
cleaned as they were. All UIDs here are pseudonyms.
"""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from gateway.deid.face_region import Region
from gateway.durable import make_durably, replace_durably
from gateway.errors import GatewayError
from gateway.model import PseudoUID


class RegionDamaged(GatewayError):
    def __init__(self) -> None:
        super().__init__(
            "the file that says where the face of its series was is damaged: restore `.faces` of "
            "the store from a backup, then release this entry"
        )


class FaceRegions:
    """The regions of one store; the line alone writes."""

    def __init__(self, store: Path) -> None:
        self._directory = store / ".faces"

    def of(self, series: PseudoUID) -> Region | None:
        """Return what was found in a series; None where nobody has looked yet."""
        try:
            return Region.of_json(self._path(series).read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, IndexError) as fault:
            raise RegionDamaged from fault

    def keep(self, series: PseudoUID, region: Region) -> None:
        path = self._path(series)
        make_durably(path.parent)
        replace_durably(path, region.as_json().encode())

    def series(self) -> Iterator[PseudoUID]:
        """Yield the series somebody has looked at."""
        for path in self._directory.glob("??/*.json"):
            yield PseudoUID(path.stem)

    def forget(self, series: PseudoUID) -> None:
        self._path(series).unlink(missing_ok=True)

    def _path(self, series: PseudoUID) -> Path:
        spread = sha256(series.encode("ascii")).hexdigest()[:2]
        return self._directory / spread / f"{series}.json"
