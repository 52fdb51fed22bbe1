"""What a profile would do, said to people; and the standard's tables taken from NEMA."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gateway.app.build import build_deidentifier, build_secret
from gateway.app.process import configure_logs
from gateway.config import GatewayConfig
from gateway.deid import tables
from gateway.deid.importing import PRIVATE, PROFILE, Imported, differences, import_tables
from gateway.durable import make_durably, replace_durably
from gateway.errors import ConfigurationFault

LARGEST = 256 << 20  # PS3.15 has 5 MB
READABLE = 0o644  # the standard is no secret, and the account of `run_as` reads it
SETTING = {PROFILE: "table", PRIVATE: "safe_private_table"}


def import_table(config: GatewayConfig, source: Path, folder: Path) -> dict[str, Any]:
    """Keep the tables of a PS3.15 in DocBook as files of the site; nothing uses them yet."""
    if not source.is_file():
        raise ConfigurationFault(f"{source} is no file: name NEMA's part15.xml")
    if source.stat().st_size > LARGEST:
        raise ConfigurationFault(f"{source} is far larger than PS3.15: name NEMA's part15.xml")
    found = import_tables(source.read_bytes())
    made = [folder / one.file_name for one in found]
    for one, path in zip(found, made, strict=True):
        _refuse_another(path, one)
    for new in make_durably(folder):
        new.chmod(0o755)
    for one, path in zip(found, made, strict=True):
        replace_durably(path, one.text.encode())
        path.chmod(READABLE)
    named = {SETTING[one.label]: str(path) for one, path in zip(found, made, strict=True)}
    tables.load(
        tables.Sources(*(Path(p) if (p := named.get(k)) else None for k in SETTING.values()))
    )
    return {
        "tables": [_described(one, path) for one, path in zip(found, made, strict=True)],
        "settings": named,
        "in_use": {key: getattr(config.deid, key) or "as shipped" for key in SETTING.values()},
    }


def _refuse_another(path: Path, new: Imported) -> None:
    """Never change a table under a gateway that may be using it."""
    if path.exists() and path.read_text("utf-8") != new.text:
        raise ConfigurationFault(
            f"{path} exists and differs: move it away, or name another folder with --into"
        )


def _described(one: Imported, path: Path) -> dict[str, Any]:
    about: dict[str, Any] = {
        "table": one.label,
        "edition": one.edition,
        "rows": one.rows,
        "file": str(path),
    }
    if one.label == PROFILE:
        rows = tables.read_profile(one.text.splitlines())
        about["against_shipped"] = differences(rows, tables.load().profile)
    if one.ignored:
        about["ignored_columns"] = list(one.ignored)
    return about


def try_out(
    config: GatewayConfig,
    source: Path,
    profile: str | None,
    out: Path,
    progress: Callable[[int, int], None],
    *,
    values: bool,
) -> dict[str, Any]:
    """Run files through a profile, write the report, and say what became of them."""
    from gateway.app.trial import try_directory
    from gateway.app.trial_page import page

    if out.exists():
        raise ConfigurationFault(f"{out} exists already: name another --report")
    if not out.resolve().parent.is_dir():
        raise ConfigurationFault(f"{out.parent} is no directory: make it, or name another --report")
    configure_logs()
    trial = try_directory(config, source, profile, progress, values=values)
    replace_durably(out, page(trial).encode())  # its owner's alone: it shows patients
    tried = [one.told() for one in trial.files]
    return trial.summary() | {"report": str(out), "tried": tried}


def explain_file(config: GatewayConfig, file: Path) -> list[dict[str, Any]]:
    """Say of every element of a file what would become of it; no value is read out."""
    from gateway.deid.explaining import explain
    from gateway.line.encoding import silence_pydicom

    silence_pydicom()
    engine = build_deidentifier(config, build_secret(config))
    return [asdict(row) | {"tag": row.path} for row in explain(engine.profile, _read(file))]


def _read(file: Path) -> Any:  # noqa: ANN401 - pydicom's FileDataset
    from pydicom import dcmread

    try:
        return dcmread(file, defer_size=1 << 20)
    except OSError:
        raise
    except Exception as fault:  # noqa: BLE001 - pydicom raises anything, and its text holds values
        raise ConfigurationFault(f"{file} is not a DICOM file: {type(fault).__name__}") from None
