"""`gateway run` as it is typed mostly, without the commands' libraries: it stays for months."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG, SETTINGS = ("--config", "-c"), "RADFED_GATEWAY"  # as the commands have them


@dataclass(frozen=True, slots=True)
class Asked:
    config: Path
    as_json: bool


def asked_to_run(words: Sequence[str]) -> Asked | None:
    """Read `run [--config FILE] [--json]`; None for all else: help, mistakes, other commands."""
    if words[:1] != ["run"]:
        return None
    rest, config, as_json = list(words[1:]), os.environ.get(SETTINGS) or "gateway.toml", False
    while rest:
        word = rest.pop(0)
        if word == "--json":
            as_json = True
        elif word in CONFIG and rest:
            config = rest.pop(0)
        else:
            return None
    return Asked(Path(config), as_json)


def run(asked: Asked) -> None:
    """Run the gateway until SIGTERM, with nothing loaded that only commands need."""
    from gateway.app.lean import decode_nothing, return_memory, settle

    os.umask(0o077)
    decode_nothing("numpy")  # the gate counts with it
    return_memory()
    from gateway.app.node import Node
    from gateway.app.saying import as_document, as_lines
    from gateway.config import load

    def started(facts: Mapping[str, Any]) -> None:
        lines = [as_document(facts)] if asked.as_json else as_lines(facts)
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        sys.stdout.flush()
        settle()

    Node(load(asked.config), asked.config).run(started)


def begin_anew(words: Sequence[str]) -> None:
    """Become `python -m gateway run` where that is all that is asked: every command is loaded."""
    if asked_to_run(words) is not None:
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-m", "gateway", *words])  # noqa: S606 - ourselves
