"""Both languages are complete, and no page has a word outside them."""

from importlib import import_module
from pkgutil import iter_modules

import pytest

from gateway import line
from gateway.console.pages import PAGES
from gateway.console.vocabulary import NOTICES
from gateway.deid.engine import ADVICE, RefusalReason
from gateway.desk.rules import JobStage, TaskStage
from gateway.link.status import LinkState
from gateway.release.rules import Kind
from gateway.vault.entry import Reason
from protos.pages import languages
from tests.fakes.catalogues import acts_by_itself, extracted, templates, words_outside

TEMPLATES = templates("gateway.console")


@pytest.mark.parametrize("tag", languages.TAGS)
def test_a_catalogue_has_every_text_and_no_other(tag):
    assert set(languages.catalogue("gateway.console", tag)) == extracted("gateway.console")


def test_every_word_of_the_rooms_is_in_the_catalogues():
    words = {*JobStage, *TaskStage, *LinkState, *Kind, *RefusalReason, *ADVICE.values()}
    words |= {page.name for page in PAGES} | set(NOTICES.values())
    long = {word for word in words if "`" in word}  # it names a command and stays as it is

    assert {str(word) for word in words - long} <= extracted("gateway.console")


def test_every_reason_of_the_line_is_in_the_catalogues():
    modules = [import_module(f"gateway.line.{found.name}") for found in iter_modules(line.__path__)]
    reasons = [
        one for module in modules for one in vars(module).values() if isinstance(one, Reason)
    ]
    words = {word for one in reasons for word in (one.reason, one.advice) if word}

    assert words <= extracted("gateway.console")
    assert len(words) > 30


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_no_template_has_text_outside_the_catalogues(template):
    assert words_outside(template) == set()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_no_template_has_script_style_or_a_foreign_address(template):
    assert acts_by_itself(template) == []
