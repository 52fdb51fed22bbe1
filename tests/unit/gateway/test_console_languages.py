"""Both languages are complete, and no page has a word outside them."""

import re
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest
from babel.messages.extract import extract_from_dir
from jinja2 import Environment

import gateway.console
from gateway import line
from gateway.console import languages
from gateway.console.visit import PAGES
from gateway.console.vocabulary import NOTICES
from gateway.deid.engine import ADVICE, RefusalReason
from gateway.desk.rules import JobStage, TaskStage
from gateway.link.status import LinkState
from gateway.release.rules import Kind
from gateway.vault.entry import Reason

HOME = Path(gateway.console.__file__).parent
TEMPLATES = sorted((HOME / "templates").glob("*.html"))
# Names that are the same in both: formulas, standards, this product.
SAME = {"radfed", "rho", "TLS", "SHA-256", "·", "/", "–", "…", ":", ";", "(", ")", "| "}
SPOKEN = {"title", "alt", "placeholder", "aria-label", "aria-description", "label"}


def extracted():
    methods = [("**.py", "python"), ("templates/**.html", "jinja2")]
    found = extract_from_dir(str(HOME), method_map=methods, keywords={"_": None})
    return {message for _file, _line, message, _comments, _context in found}


@pytest.mark.parametrize("tag", languages.TAGS)
def test_a_catalogue_has_every_text_and_no_other(tag):
    catalogue = languages.load()[tag].catalogue

    assert set(catalogue) == extracted()


@pytest.mark.parametrize("tag", languages.TAGS)
def test_a_translation_takes_the_values_its_text_has(tag):
    for text, said in languages.load()[tag].catalogue.items():
        assert sorted(re.findall(r"%\((\w+)\)s", text)) == sorted(re.findall(r"%\((\w+)\)s", said))


def test_chinese_is_chinese():
    catalogue = languages.load()["zh-CN"].catalogue
    same = {text for text, said in catalogue.items() if not re.search("[\u4e00-\u9fff]", said)}

    assert same <= {"rho %(rho)s"}


def test_every_word_of_the_rooms_is_in_the_catalogues():
    words = {*JobStage, *TaskStage, *LinkState, *Kind, *RefusalReason, *ADVICE.values()}
    words |= {name for _path, name in PAGES} | set(NOTICES.values())
    long = {word for word in words if "`" in word}  # it names a command and stays as it is

    assert {str(word) for word in words - long} <= extracted()


def test_every_reason_of_the_line_is_in_the_catalogues():
    modules = [import_module(f"gateway.line.{found.name}") for found in iter_modules(line.__path__)]
    reasons = [
        one for module in modules for one in vars(module).values() if isinstance(one, Reason)
    ]
    words = {word for one in reasons for word in (one.reason, one.advice) if word}

    assert words <= extracted()
    assert len(words) > 30


class Spoken(HTMLParser):
    """Collects what a reader or a screen reader would be told."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, _tag, attributes):
        self.found += [value for name, value in attributes if name in SPOKEN and value]

    def handle_data(self, data):
        self.found.append(data)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_no_template_has_text_outside_the_catalogues(template):
    tokens = Environment().lex(template.read_text("utf-8"))
    reader = Spoken()
    reader.feed("".join(text for _line, kind, text in tokens if kind == "data"))

    words = {word for said in reader.found for word in said.split()}

    assert {word for word in words if re.search(r"\w", word)} <= SAME


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_no_template_has_script_style_or_a_foreign_address(template):
    text = template.read_text("utf-8")

    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=\"/static/)|javascript:", text)
    assert not re.search(r"(?:src|href|action)=[\"'](?:https?:)?//", text)
    assert "|safe" not in text.replace(" ", "")


def test_numbers_and_dates_are_each_readers_own():
    chinese, english = languages.load()["zh-CN"], languages.load()["en"]

    assert english.number(1234567) == chinese.number(1234567) == "1,234,567"
    assert "2026年3月4日" in chinese.moment("2026-03-04T12:00:00+00:00")
    assert "Mar 4, 2026" in english.moment("2026-03-04T12:00:00+00:00")
    assert english.size(52_000_000) == "52 MB"
    assert "\u202e" not in english.moment("\u202e<b>")


@pytest.mark.parametrize(
    ("accepts", "tag"),
    [("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"), ("en-GB", "en"), ("fr, zh-TW", "zh-CN"), ("", "en")],
)
def test_a_browser_is_met_in_its_language(accepts, tag):
    assert languages.preferred(accepts) == tag
