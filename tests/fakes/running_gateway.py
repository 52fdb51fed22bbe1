"""A gateway as an operator has it: it runs in its processes; commands run here, to save time."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from typer.testing import CliRunner

from gateway.cli import gateway as commands

ROOT = Path(__file__).parents[2]


class Gateway:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.log = ""
        self(
            "init", "--site", "tongji", "--data", self.state, "--port", "0", "--console-port", "0",
            "--peer", "pacs=PACS@127.0.0.1:9", "--recovery-code-file", home / "code",
            "--reserve-bytes", "1000000",
        )  # fmt: skip

    @property
    def settings(self) -> Path:
        return self.home / "gateway.toml"

    @property
    def state(self) -> Path:
        return self.home / "state"

    def __call__(self, *arguments, expect=0, stdin=""):
        command = [str(argument) for argument in arguments]
        done = CliRunner().invoke(
            commands, [*command, "--config", str(self.settings)], input=stdin, env={"USER": "li"}
        )
        assert done.exit_code == expect, (done.stderr, done.exception)
        return done

    def json(self, *arguments, **options):
        return json.loads(self(*arguments, "--json", **options).stdout)

    @contextmanager
    def running(self):
        """Run until the block ends; `log` then holds what it wrote."""
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "run"],
            cwd=self.home,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            self.wait(lambda: self.json("status")["port"])
            yield self
        finally:
            process.send_signal(signal.SIGTERM)
            self.log += process.communicate(timeout=60)[1]
        assert process.returncode == 0, self.log

    def wait(self, ready, seconds=120.0):
        ends = time.monotonic() + seconds
        while not (found := ready()):
            assert time.monotonic() < ends
            time.sleep(0.1)
        return found

    def take(self, *datasets):
        """Bring datasets in and wait until they are in the index."""
        folder = self.home / f"sent-{time.monotonic_ns()}"
        folder.mkdir()
        for number, dataset in enumerate(datasets):
            dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)
        self("import", folder)
        self.wait(lambda: self.json("status")["arrivals"] == 0)
