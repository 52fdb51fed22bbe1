"""Finds the interpreter, the packages and the shared libraries that jobs are given, and no more."""

import os
import sys
import sysconfig
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from gateway.sandbox.rules import Runtime

# What a job may import beside the standard library: arrays, DICOM and its decoders; never ours.
DISTRIBUTIONS = ("numpy", "scipy", "safetensors", "pydicom", "pillow", "pylibjpeg",
                 "pylibjpeg-openjpeg", "pyjpegls", "python-gdcm")  # fmt: skip
LIBRARY_ROOTS = ("lib", "lib64")


def discover(distributions: tuple[str, ...] = DISTRIBUTIONS) -> Runtime:
    """Describe this gateway's own interpreter as a runtime for jobs."""
    executable = Path(sys.executable).resolve()
    places = [executable, *_standard_library(), *_system_libraries()]
    return Runtime(
        executable=executable,
        same_place=tuple(_without_nested(places)),
        links=tuple(_links()),
        packages=tuple(path for name in distributions for path in _top_level(name)),
        harness=Path(__file__).resolve().parent / "runtime",
    )


def with_packages(runtime: Runtime, directory: Path) -> Runtime:
    """Return a runtime with a directory's packages too; one of the same name stands before ours."""
    added = [path for path in sorted(directory.resolve().iterdir()) if path.name != "__pycache__"]
    names = {path.name for path in added}
    kept = [path for path in runtime.packages if path.name not in names]
    return replace(runtime, packages=(*kept, *added))


def _standard_library() -> list[Path]:
    """Return what the interpreter needs: /usr is shared with the host, so only its part of it."""
    base = Path(sys.base_prefix).resolve()
    if base not in (Path("/usr"), Path("/usr/local")):
        return [base]
    found = [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
    library = sysconfig.get_config_var("INSTSONAME")
    folder = sysconfig.get_config_var("LIBDIR")
    if library and folder and library.startswith("libpython"):
        found.append(Path(folder, library))
    return [path for path in dict.fromkeys(found) if path.exists()]


def _system_libraries() -> list[Path]:
    """Return the directories of the C library and its kin: Debian's multiarch one, or lib64."""
    triplet = sysconfig.get_config_var("MULTIARCH") or f"{os.uname().machine}-linux-gnu"
    places = [Path("/usr/lib", triplet), Path("/usr/lib64")]
    found = [path for path in places if path.is_dir()]
    if len(found) == 0:
        found = [Path("/usr/lib")]
    unmerged = [Path("/", root) for root in LIBRARY_ROOTS if not Path("/", root).is_symlink()]
    return [*found, *(path for path in unmerged if path.is_dir())]


def _links() -> list[tuple[str, str]]:
    paths = [Path("/", root) for root in LIBRARY_ROOTS]
    return [(str(path.readlink()), str(path)) for path in paths if path.is_symlink()]


def _top_level(name: str) -> list[Path]:
    """Return the files and directories a distribution put into site-packages."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return []
    tops = {
        file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")
    }
    paths = [Path(str(found.locate_file(top))).resolve() for top in sorted(tops)]
    return [path for path in paths if path.exists()]


def _without_nested(paths: list[Path]) -> list[Path]:
    unique = list(dict.fromkeys(paths))
    return [p for p in unique if not any(other in p.parents for other in unique)]
