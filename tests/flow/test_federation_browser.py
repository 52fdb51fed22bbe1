"""The federation's console in a real browser: every page, both languages, no complaint."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.fakes.chromium import CHROMIUM, FAULTS, PHONE, WIDE, AtBrowser, a_browser
from tests.fakes.federation_console import a_console_federation

pytestmark = [
    pytest.mark.flow,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="Debian's chromium is not installed"),
]
PAGES = ("/fleet", "/people")


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """Return where screenshots go: a place that can be named, to look at them."""
    named = os.environ.get("RADFED_SCREENSHOTS")
    return Path(named) if named else tmp_path_factory.mktemp("screenshots")


@pytest.fixture(scope="module")
def federation(tmp_path_factory):
    with a_console_federation(tmp_path_factory.mktemp("federation"), "alpha", "beta") as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    with a_browser() as running:
        yield running


@pytest.fixture(scope="module")
def operator(browser, federation):
    one = AtBrowser(browser, federation.address)
    one.make_account(federation.first_link(), "operator")
    yield one
    one.context.close()


@pytest.mark.parametrize("tag", ["zh-CN", "en"])
def test_every_page_is_whole_in_both_languages(operator, shots, tag):
    page = operator.go("/fleet")
    if page.locator("html").get_attribute("lang") != tag:
        page.locator(f"button[lang={tag}]").click()
    expect(page.locator("html")).to_have_attribute("lang", tag)

    faults = {}
    for path in PAGES:
        operator.go(path)
        name = path.strip("/").replace("/", "-")
        for size, width in (("wide", WIDE), ("phone", PHONE)):
            page.set_viewport_size(width)
            for scheme in ("dark", "light"):
                page.emulate_media(color_scheme=scheme)
                if found := page.evaluate(FAULTS):
                    faults[f"{path} {size} {scheme}"] = found
            page.screenshot(path=shots / f"federation-{name}-{size}-{tag}.png")
        page.set_viewport_size(WIDE)
    assert faults == {}
    assert operator.complaints.found == []
