"""Runtimes as directories of packages: made here by pip, bound read-only into a hospital's sandbox.

A vendor makes one to try a job, a hospital to offer it: by the same recipe, on the same Python.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gateway.errors import ConfigurationFault, EnvironmentFault
from gateway.sandbox.interpreter import DISTRIBUTIONS, discover
from protos.job_manifest import PLAIN_RUNTIME, RUNTIMES

PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
LAST_WORDS = 300
# Not of a runtime: scripts and what else pip puts beside packages.
BESIDE = ("bin", "share", "include", "__pycache__")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What pip is asked for, what of it comes without its own needs, and what must import then."""

    requirements: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()

    def __add__(self, other: "Recipe") -> "Recipe":
        return Recipe(
            self.requirements + other.requirements,
            self.alone + other.alone,
            self.imports + other.imports,
        )

    def replaced(self, chosen: Sequence[str]) -> "Recipe":
        """Return the recipe with other versions of what it names already."""
        names = {_project(each): each for each in chosen}
        known = {_project(each) for each in (*self.requirements, *self.alone)}
        if odd := next((each for name, each in names.items() if name not in known), None):
            raise ConfigurationFault(
                f"{odd} is not of this runtime, which has {', '.join(sorted(known))}"
            )
        return Recipe(
            tuple(names.get(_project(each), each) for each in self.requirements),
            tuple(names.get(_project(each), each) for each in self.alone),
            self.imports,
        )


# PyTorch's plain wheel asks for gigabytes of a GPU's libraries, and does not start without them.
TORCH = Recipe(
    ("filelock", "typing-extensions", "sympy", "networkx", "jinja2", "fsspec"),
    alone=("torch==2.13.0+cpu",),
    imports=("torch",),
)
FLOWER = Recipe(("flwr>=1.26",), imports=("flwr.clientapp",))
RECIPES: Mapping[str, Recipe] = {
    "torch-cpu": TORCH,
    "sklearn": Recipe(("scikit-learn>=1.6",), imports=("sklearn.linear_model",)),
    "flower": FLOWER,
    "flower-torch-cpu": FLOWER + TORCH,
}


def build(
    name: str, directory: Path, chosen: Sequence[str] = (), wheels: Path | None = None
) -> dict[str, object]:
    """Fill a new directory with a runtime's packages; whole, or not there at all."""
    if name not in RECIPES:
        raise ConfigurationFault(f"there is no recipe for {name}: {', '.join(RECIPES)}")
    if directory.exists():
        raise ConfigurationFault(f"{directory} exists: name another, or move it away")
    recipe = RECIPES[name].replaced(chosen)
    draft = directory.with_name(directory.name + ".draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for words in (("--no-deps", *recipe.alone), recipe.requirements):
        if any(not word.startswith("-") for word in words):
            _pip(draft, words, wheels)
    _prune(draft)
    _try(draft, recipe.imports)
    draft.rename(directory)
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    return {"runtime": name, "brings": RUNTIMES[name], "directory": str(directory), "bytes": size}


def _pip(draft: Path, words: Iterable[str], wheels: Path | None) -> None:
    """Install wheels only, in versions that go with the gateway's own packages."""
    pins = draft.with_name(draft.name + ".pins")
    pins.write_text("".join(f"{each}\n" for each in _pinned()), "utf-8")
    source = ["--no-index", "--find-links", str(wheels)] if wheels else []
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--only-binary", ":all:", "--target", str(draft), "--constraint", str(pins)),
        *source,
        *words,
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        pins.unlink()
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        why = (errors or done.stderr.splitlines() or ["it ended without a word"])[-1]
        raise EnvironmentFault(
            f"pip could not fetch the packages ({why[-LAST_WORDS:]}): name another version with "
            "--with, or a directory of wheels with --wheels"
        )


def _pinned() -> list[str]:
    found = []
    for each in DISTRIBUTIONS:
        try:
            found.append(f"{each}=={version(each)}")
        except PackageNotFoundError:
            continue
    return found


def _prune(draft: Path) -> None:
    """Take out what every job has by the gateway's own runtime, and what is no package."""
    ours = {path.name for path in discover().packages}
    for path in list(draft.iterdir()):
        if path.name in ours or path.name in BESIDE:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _try(draft: Path, imports: Sequence[str]) -> None:
    """Import what the runtime is for, as its jobs will; a runtime that cannot is none."""
    places = [str(draft), *sorted({str(path.parent) for path in discover().packages})]
    code = (
        f"import sys; sys.path += {json.dumps(places)}\n"
        f"for name in {json.dumps(imports)}: __import__(name)"
    )
    command = [sys.executable, "-I", "-S", "-B", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise EnvironmentFault(
            f"what was fetched does not start here ({last[-LAST_WORDS:]}): name another version "
            "with --with"
        )


def _project(requirement: str) -> str:
    found = PROJECT.match(requirement)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else requirement


assert set(RECIPES) == set(RUNTIMES) - {PLAIN_RUNTIME}
