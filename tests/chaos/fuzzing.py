"""What both targets of atheris share: seeds, a dictionary, and how they are run.

pip install atheris                               a wheel for Python 3.11 to 3.13 on x86-64
make chaos ARGS="fuzz-upper-layer fuzz-datasets"  five minutes of each, one JSON line
python -m tests.chaos.fuzz_upper_layer -max_total_time=600    or any other libFuzzer option
python -m tests.chaos.fuzz_upper_layer crash-...              a finding, once more
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, cast

ROOT = Path(__file__).parents[2]
LONGEST = 20_000
DONE = re.compile(r"Done (\d+) runs in (\d+) second")
COVERED = re.compile(r"cov: (\d+)")


class Target(Protocol):
    """A module that is fuzzed."""

    WORDS: Sequence[bytes]

    @staticmethod
    def try_one(stream: bytes) -> None: ...

    @staticmethod
    def seeds() -> Sequence[bytes]: ...


def fuzz(name: str) -> None:
    """Fuzz until libFuzzer's options say stop; ends the process."""
    if {"-h", "--help"} & {*sys.argv[1:]}:
        print(__doc__)
        return
    if not is_installed():
        print("atheris is not installed (pip install atheris): nothing was tried")
        return
    import atheris

    target = instrumented(name)
    with tempfile.TemporaryDirectory(prefix="radfed-fuzz-") as place:
        corpus, dictionary = Path(place) / "corpus", Path(place) / "words"
        corpus.mkdir()
        for number, seed in enumerate(target.seeds()):
            (corpus / str(number)).write_bytes(seed)
        dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in target.WORDS), "ascii")
        options = [f"-dict={dictionary}", f"-max_len={LONGEST}"]
        again = [argument for argument in sys.argv[1:] if Path(argument).is_file()]
        atheris.Setup([*sys.argv, *options, *([] if again else [str(corpus)])], target.try_one)
        atheris.Fuzz()


def instrumented(name: str) -> Target:
    """Import a target and what it tries once more, so that atheris sees their branches."""
    import atheris

    for loaded in [m for m in sys.modules if m.split(".")[0] in {"gateway", "protos", "tests"}]:
        del sys.modules[loaded]
    with atheris.instrument_imports(include=["gateway"]):
        return cast("Target", import_module(name))


def is_installed() -> bool:
    return find_spec("atheris") is not None


def fuzzed(target: str, place: Path, seconds: int, seed: int) -> dict[str, object]:
    """Run a target in a process of its own; return what it saw, or refuse what it found."""
    options = [f"-max_total_time={seconds}", f"-seed={seed}", f"-artifact_prefix={place}/"]
    done = subprocess.run(
        [sys.executable, "-m", f"tests.chaos.{target}", *options],
        cwd=ROOT, capture_output=True, text=True, timeout=seconds + 120, check=False,
    )  # fmt: skip
    ran = DONE.search(done.stderr)
    assert done.returncode == 0, done.stderr[-4000:]
    assert ran
    covered = COVERED.findall(done.stderr)
    return {"runs": int(ran[1]), "seconds": int(ran[2]), "branches": int(covered[-1])}


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)
