"""Every command can speak JSON, and its help ends with an example that it would take."""

import re
import shlex
from importlib.metadata import entry_points

import pytest
from typer.main import get_command

EXAMPLE = re.compile(r"Example: (.+)")


def commands():
    """Yield (words, command) for every command a person can type."""
    for entry in sorted(entry_points(group="radfed.commands"), key=lambda entry: entry.name):
        yield from below(get_command(entry.load()), ("radfed", entry.name))


def below(command, words):
    verbs = getattr(command, "commands", {})
    if not verbs:
        yield words, command
    for name, verb in verbs.items():
        if not verb.hidden:
            yield from below(verb, (*words, name))


COMMANDS = list(commands())


@pytest.mark.parametrize(("words", "command"), COMMANDS, ids=[" ".join(w) for w, _ in COMMANDS])
def test_the_help_of_a_command_has_an_example_that_it_takes(words, command):
    example = EXAMPLE.search(command.help or "")

    assert example, f"`{' '.join(words)} --help` has no example"
    typed = shlex.split(example[1].rpartition("| ")[2])
    assert tuple(typed[: len(words)]) == words
    command.make_context(words[-1], typed[len(words) :])  # raises where an option is not there


@pytest.mark.parametrize(("words", "command"), COMMANDS, ids=[" ".join(w) for w, _ in COMMANDS])
def test_a_command_can_speak_json(words, command):
    assert "--json" in {option for each in command.params for option in each.opts}, words
