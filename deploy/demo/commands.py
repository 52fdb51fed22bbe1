"""Runs the product's own commands, as a user would type them, and reads their JSON."""

import json
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

COMMAND_SECONDS = 300.0  # `job watch` takes as long as the job


class CommandFailed(Exception):
    """A command ended with another exit code than expected."""

    def __init__(self, words: tuple[str, ...], code: int, said: str) -> None:
        shown = " ".join(word if len(word) < 60 else word[:20] + "..." for word in words)  # noqa: PLR2004
        super().__init__(f"`radfed {shown}` ended with {code}: {said.strip()[-600:]}")
        self.code = code
        self.said = said


class TookTooLong(Exception):
    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"{what} took more than {seconds:g} s: see the logs")


def radfed(*words: str, env: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - JSON
    """Run `radfed WORDS --json`; CommandFailed unless it ends with 0."""
    code, document, said = attempt(*words, env=env)
    if code != 0:
        raise CommandFailed(words, code, said)
    return document


def attempt(
    *words: str,
    env: Mapping[str, str] | None = None,
) -> tuple[int, Any, str]:
    """Run `radfed WORDS --json`; return its exit code, its document, and what it said beside it."""
    try:
        done = subprocess.run(
            [*program(), *words, "--json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
            env=os.environ | dict(env or {}),
        )
    except subprocess.TimeoutExpired:
        raise TookTooLong(f"`radfed {' '.join(words[:2])}`", COMMAND_SECONDS) from None
    try:
        document = json.loads(done.stdout)
    except ValueError:
        document = None
    return done.returncode, document, done.stderr or done.stdout


def program() -> list[str]:
    """Return how `radfed` is started: by its script, or where it is not installed by Python."""
    script = Path(sysconfig.get_path("scripts")) / "radfed"
    if script.exists():
        return [str(script)]
    return [sys.executable, "-c", "from gateway.cli import radfed; radfed()"]


def wait_until(what: str, ready: Callable[[], bool], seconds: float, pause: float = 0.2) -> None:
    """Ask again and again; TookTooLong when it never holds."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise TookTooLong(what, seconds)
        time.sleep(pause)
