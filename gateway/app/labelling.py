"""Reference standards as the steward's commands bring them in and look at them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gateway.app.build import build_audit, build_deidentifier, build_secret
from gateway.config import GatewayConfig
from gateway.errors import ConfigurationFault
from gateway.keys import Purpose, key_versions
from gateway.model import PseudoUID
from gateway.store.index import Index
from gateway.store.labels import import_labels as take_labels
from gateway.store.verdicts import BY_NAME, BY_READER

Rows = list[dict[str, Any]]
ONE_FILE_EACH = """
    SELECT series.study_uid AS study_uid, min(instance.path) AS path
    FROM instance JOIN series USING (series_uid) GROUP BY series.study_uid
"""


def import_labels(
    config: GatewayConfig,
    file: Path,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    *,
    skip_bad: bool,
) -> dict[str, Any]:
    """Take a CSV under the site's keys; what was taken goes on the audit trail, by numbers."""
    keys = build_deidentifier(config, build_secret(config))
    with _index(config) as index:

        def studies_of(wanted: frozenset[str]) -> Mapping[str, Sequence[PseudoUID]]:
            return _by_accession(config, index, wanted, progress)

        version = key_versions(config.keys_dir)[Purpose.PSEUDONYM]
        taken = take_labels(index, file, keys, studies_of, skip_bad=skip_bad, version=version)
    found = asdict(taken)
    with closing(build_audit(config)) as audit:
        numbers = {name: found[name] for name in ("taken", "without_images")}
        audit.record("labels_imported", **numbers, refused=len(taken.refused_lines))
    return found


def labels(config: GatewayConfig) -> Rows:
    """Return exact counts of each label: the hospital's own, and never sent."""
    with _index(config) as index:
        return [dict(row) for row in index.read(BY_NAME)]


def label(config: GatewayConfig, name: str) -> dict[str, Any]:
    """Return one label's counts, and those of each of its readers."""
    with _index(config) as index:
        found = [dict(row) for row in index.read(BY_NAME) if row["label"] == name]
        readers = [dict(row) for row in index.read(BY_READER, {"name": name})]
    if not found:
        raise ConfigurationFault("there is no label of that name: `radfed gateway labels ls`")
    return found[0] | {"by_reader": readers}


def _by_accession(
    config: GatewayConfig,
    index: Index,
    wanted: frozenset[str],
    progress: Callable[[int, int], None],
) -> dict[str, list[PseudoUID]]:
    """Look up studies by the keyed accession number in their files, one file for each."""
    from pydicom import dcmread

    found: dict[str, list[PseudoUID]] = {}
    rows = index.read(ONE_FILE_EACH)
    for number, row in enumerate(rows, start=1):
        path = config.store_dir / str(row["path"])
        try:
            header = dcmread(path, stop_before_pixels=True, specific_tags=["AccessionNumber"])
            written = str(header.get("AccessionNumber") or "")
        except Exception:  # noqa: BLE001 - moved, or damaged: pydicom raises anything
            written = ""
        if written in wanted:
            found.setdefault(written, []).append(PseudoUID(row["study_uid"]))
        progress(number, len(rows))
    return found


@contextmanager
def _index(config: GatewayConfig) -> Iterator[Index]:
    with closing(Index.open(config.index_file)) as index:
        yield index
