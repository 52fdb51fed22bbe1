"""Both languages of what both consoles share are complete, and each house's fit them."""

import re

import pytest

from protos.pages import languages
from tests.fakes.catalogues import acts_by_itself, extracted, templates, words_outside

HOUSES = ("gateway.console", "coordinator.console")
TEMPLATES = templates("protos.pages")


@pytest.mark.parametrize("tag", languages.TAGS)
def test_the_shared_catalogue_has_every_text_and_no_other(tag):
    assert set(languages.catalogue("protos.pages", tag)) == extracted("protos.pages")


@pytest.mark.parametrize("house", HOUSES)
@pytest.mark.parametrize("tag", languages.TAGS)
def test_a_translation_takes_the_values_its_text_has(tag, house):
    for text, said in languages.load(house)[tag].catalogue.items():
        assert sorted(re.findall(r"%\((\w+)\)s", text)) == sorted(re.findall(r"%\((\w+)\)s", said))


@pytest.mark.parametrize("house", HOUSES)
def test_chinese_is_chinese(house):
    catalogue = languages.load(house)["zh-CN"].catalogue
    same = {text for text, said in catalogue.items() if not re.search("[\u4e00-\u9fff]", said)}

    assert same <= {"rho %(rho)s"}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_no_shared_template_has_text_outside_the_catalogues(template):
    assert words_outside(template) == set()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_no_shared_template_has_script_style_or_a_foreign_address(template):
    assert acts_by_itself(template) == []


def test_numbers_and_dates_are_each_readers_own():
    both = languages.load("gateway.console")
    chinese, english = both["zh-CN"], both["en"]

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
