"""Every attack of the bundle, confined or not: `python suite.py bubblewrap-cgroup|...|unconfined`.

Prints one JSON object: which attacks worked, and what became of the honest job meanwhile.
"""

import contextlib
import io
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

from gateway.model import Isolation
from gateway.sandbox.rules import FailureCode, Limits
from gateway.sandbox.runner import Finished, JobFailed, Runner
from protos import bundle
from protos.tensors import TensorSpec, encode
from tests.attack.sandbox.hospital_side import processes_named, unconfined, within_reach
from tests.fakes import vendor
from tests.fakes.releasing import Leaving, released

BUNDLE = Path(__file__).resolve().parent / "bundle"
sys.path.append(str(BUNDLE))  # for the names of its attacks; the job itself runs elsewhere
import bombs  # noqa: E402
import kernel  # noqa: E402
import reach  # noqa: E402
import smuggle  # noqa: E402

LIMITS = Limits(memory_bytes=192 << 20, processes=40, output_bytes=4 << 20)
MEASURES = {
    "processes": LIMITS.processes,
    "hog_bytes": 264 << 20,
    "output_bytes": LIMITS.output_bytes + (1 << 20),
    "sparse_bytes": 64 << 20,
    "inodes": 150_000,
}
QUIET = [*reach.ATTACKS, *kernel.ATTACKS]  # these spoil nothing: one start for all of them
SCHEMA = {"w": TensorSpec(shape=(2,))}
WALL_SECONDS, GRACE_SECONDS = 1.0, 3.0
HONEST = "def predict(cohort, weights, config): return {'case': 0.25}\n"
HONEST_OUTPUT = b"case,score\ncase,0.25\n"


class Confined:
    def __init__(self, runner: Runner, folder: Path) -> None:
        self._runner, self._folder = runner, folder
        self._cohort = vendor.a_cohort_of_nobody(folder / "cohort")
        self._code = folder / "code"
        bundle.unpack(bundle.pack(BUNDLE), self._code)  # as a hospital gets it
        self.honest: list[str] = []

    def scores(self, config):
        outcome = self._run(config | {"attacks": QUIET})
        assert isinstance(outcome, Finished), outcome.log.decode()
        rows = outcome.outputs["predictions.csv"].decode().split()[1:]
        return {name: score == "1.0" for name, score in (row.split(",") for row in rows)}

    def bomb(self, name, config):
        config |= {"attacks": [name], "daemon_name": f"radfed-daemon-{secrets.token_hex(4)}"}
        began = time.monotonic()
        outcome = self._run(config, WALL_SECONDS if name == "immune" else 60.0)
        late = name == "immune" and time.monotonic() - began > WALL_SECONDS + GRACE_SECONDS
        done = isinstance(outcome, Finished)
        scored = done and b",1.0" in outcome.outputs.get("predictions.csv", b"")
        return late or scored or bool(processes_named(config["daemon_name"]))

    def smuggle(self, name, config):
        """Say whether the secret, too much, or a program came out by the one door."""
        outcome = self._run(config | {"attacks": [name]})
        if isinstance(outcome, JobFailed):
            return outcome.code not in set(FailureCode)
        old = encode({"w": [0.0, 0.0]}, SCHEMA)
        raw = outcome.outputs.get("weights.safetensors", b"")
        checked = released(raw, old, SCHEMA, 1.0, 0.1)
        leaves = checked.payload if isinstance(checked, Leaving) else checked.code.encode()
        return (
            config["secret"].encode() in leaves
            or sum(map(len, outcome.outputs.values())) > MEASURES["sparse_bytes"]
            or not set(outcome.outputs) <= {"weights.safetensors", "predictions.csv"}
            or Path(config["scratch"], "unpickled").exists()
        )

    @contextlib.contextmanager
    def with_an_honest_job(self):
        """Run an honest job again and again, beside whatever else runs."""
        code, over = vendor.a_bundle(self._folder / "honest", HONEST), threading.Event()

        def run() -> None:
            while not over.wait(0.3):
                ended = self._runner.run(code, self._cohort, None, {}, 60, threading.Event())
                held = isinstance(ended, Finished)
                held = held and ended.outputs["predictions.csv"] == HONEST_OUTPUT
                self.honest.append("passed" if held else str(getattr(ended, "code", "differs")))

        beside = threading.Thread(target=run)
        beside.start()
        try:
            yield
        finally:
            over.set()
            beside.join()

    def _run(self, config, wall=60.0):
        config = config | MEASURES | {"out": "/job/out", "scratch": "/tmp"}
        return self._runner.run(self._code, self._cohort, None, config, wall, threading.Event())


class Unconfined:
    """The control: the same attacks on a gateway that trusts its vendor."""

    honest = ()

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def scores(self, config):
        return json.loads(self._run(config, QUIET).stdout)

    def bomb(self, name, config):
        if name == "immune":
            return self._outlives_sigterm()
        daemon = f"radfed-daemon-{secrets.token_hex(4)}"
        ended = self._run(config | {"daemon_name": daemon}, [name])
        stayed = processes_named(daemon)
        for process in stayed:
            os.kill(process, signal.SIGKILL)
        return bool(stayed) or b": 1.0" in ended.stdout

    def smuggle(self, name, config):
        """Take whatever lies in the output folder, and believe it."""
        ended = self._run(config, [name])
        secret = config["secret"].encode()
        told = secret in ended.stdout + ended.stderr or ended.returncode == secret[0]
        return told or any(
            self._believes(path, secret, config) for path in Path(config["out"]).iterdir()
        )

    def _believes(self, path, secret, config):
        if not path.is_file():
            return path.is_fifo()  # opening it would wait for ever
        raw = path.read_bytes()
        with contextlib.suppress(zipfile.BadZipFile):
            raw = zipfile.ZipFile(io.BytesIO(raw)).read("weights")
        # What the gate never does: the unconfined control has Python load what its job left.
        pickled = Path(config["scratch"], "pickled")
        pickled.write_bytes(raw)
        subprocess.run([sys.executable, "-m", "pickle", pickled], capture_output=True, check=False)
        claims = int.from_bytes(raw[:8], "little") > 1 << 60
        run = Path(config["scratch"], "unpickled").exists()
        return secret in raw or len(raw) >= MEASURES["sparse_bytes"] or claims or run

    def _outlives_sigterm(self):
        program = f"import sys; sys.path.insert(0, {str(BUNDLE)!r}); import bombs; bombs.immune(0)"
        process = subprocess.Popen([sys.executable, "-B", "-c", program])
        time.sleep(0.5)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        stayed = process.poll() is None
        process.kill()
        process.wait()
        return stayed

    def _run(self, config, attacks):
        return unconfined(self._folder, BUNDLE, config | {"attacks": attacks})


def attempt(mode: str) -> dict[str, object]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config = stack.enter_context(within_reach(folder))
        if mode == "unconfined":
            return _all(Unconfined(folder), config, lambda: _fresh(folder, stack))
        isolation, _, limits = mode.rpartition("-")
        runner = Runner.on_this_machine(LIMITS, isolation=Isolation(isolation))
        if limits == "rlimits":
            runner = runner.without_cgroups()
        elif runner.counts_memory_by == "rlimits":
            return {"skipped": "this machine delegates no cgroup"}
        confined = Confined(runner, folder)
        with confined.with_an_honest_job():
            found = _all(confined, config, dict)
        return found | {"honest": confined.honest, "by": runner.counts_memory_by}


def _all(side, config, fresh) -> dict[str, object]:
    worked = dict(side.scores(config | MEASURES | fresh()))
    for name in bombs.ATTACKS:
        worked[name] = side.bomb(name, config | MEASURES | fresh())
    for name in smuggle.ATTACKS:
        worked[name] = side.smuggle(name, {"scratch": "/nowhere"} | config | MEASURES | fresh())
    return {"user": os.geteuid(), "worked": {name: bool(did) for name, did in worked.items()}}


def _fresh(folder, stack):
    """Return an output folder and a scratch in memory, for the next attack alone."""
    scratch = tempfile.mkdtemp(dir="/dev/shm")
    stack.callback(shutil.rmtree, scratch, ignore_errors=True)
    return {"scratch": scratch, "out": tempfile.mkdtemp(dir=folder)}


if __name__ == "__main__":
    print(json.dumps(attempt(sys.argv[1])))
