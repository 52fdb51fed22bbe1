"""The README and the runbooks name only what is there: every command is run for its help."""

import os
import re
import shlex
import subprocess
import sys
import sysconfig
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from unittest import mock

import pytest

from gateway.cli import radfed

pytestmark = pytest.mark.flow

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs" / "runbooks").glob("*.md")))
RADFED = Path(sysconfig.get_path("scripts")) / "radfed"
PLAIN = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:radfed|make)(?: [^`]*)?)`")
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")


def commands(program):
    """Return every command line of the pages that starts with this program."""
    found = set()
    for page in PAGES:
        text = page.read_text()
        lines = "\n".join(BLOCK.findall(text)).replace("\\\n", " ").splitlines()
        for line in [*lines, *INLINE.findall(text)]:
            words = shlex.split(line.removeprefix("/opt/radfed/bin/"), comments=True)
            if len(words) > 1 and words[0] == program and "=" not in " ".join(words[1:2]):
                found.add(tuple(words))
    return sorted(found)


def verbs(words):
    """Return the words that choose a command: those before an option, an argument or a value."""
    return [word for word in words[1:4] if re.fullmatch(r"[a-z][a-z-]*", word)]


def run(*words):
    return subprocess.run(
        words,
        check=False,
        cwd=ROOT,
        env=os.environ | PLAIN,
        capture_output=True,
        text=True,
        timeout=60,
    )


def help_of(words):
    """Return the help of the longest chain of words that names a command."""
    chain = verbs(words)
    while chain and not (text := helped(*chain)):
        chain.pop()
    return chain, text


@cache
def helped(*chain):
    """Return a command's help: in this process, because each start of `radfed` takes a second."""
    with (
        mock.patch.object(sys, "argv", ["radfed", *chain, "--help"]),
        mock.patch.dict(os.environ, PLAIN),
        redirect_stdout(StringIO()) as said,
        redirect_stderr(StringIO()),
        pytest.raises(SystemExit) as end,
    ):
        radfed()
    return said.getvalue() if not end.value.code else ""


@pytest.mark.skipif(not RADFED.exists(), reason="radfed is not installed in this environment")
@pytest.mark.parametrize("words", commands("radfed"), ids=" ".join)
def test_every_command_named_is_there_with_its_options(words):
    chain, text = help_of(words)

    assert len(chain) >= (1 if words[1] == "demo" else 2), f"`{' '.join(words)}` is no command"
    for option in (word for word in words if word.startswith("--")):
        assert option in text, f"`{' '.join(chain)}` has no {option}"


@pytest.mark.parametrize("words", commands("make"), ids=" ".join)
def test_every_make_target_named_is_there(words):
    targets = run("make", "help").stdout

    for target in words[1:2]:
        assert f"make {target} " in targets


def test_make_alone_lists_the_targets():
    assert run("make").stdout == run("make", "help").stdout
    assert "make demo" in run("make").stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_inside_the_repository_leads_somewhere(page):
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.skipif(not RADFED.exists(), reason="radfed is not installed in this environment")
def test_the_readme_names_every_house():
    listed = run(RADFED, "--help").stdout

    text = (ROOT / "README.md").read_text()

    for name in ("gateway", "coordinator", "site", "query", "job", "vendor", "demo"):
        assert name in listed
        assert f"radfed {name}" in text


def test_the_exit_codes_are_those_of_both_houses():
    from coordinator.errors import ExitCode as Centre
    from gateway.errors import ExitCode as Hospital

    text = (ROOT / "README.md").read_text().replace("\n", " ")

    assert {code.name: code.value for code in Centre} == {
        code.name: code.value for code in Hospital
    }
    for code in Hospital:
        assert f" {code.value} " in text
