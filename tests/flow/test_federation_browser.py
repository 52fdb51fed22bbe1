"""The federation's console in a real browser: every page, both languages, no complaint."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.fakes.chromium import CHROMIUM, FAULTS, PHONE, WIDE, AtBrowser, a_browser
from tests.fakes.federation_console import a_console_federation

# A question that is looked at, and not asked.
ASKED = "/ask?look=1&where=Modality+%3D+%27CT%27&by=PatientSex&by2=PatientAge&tier=noisy"
pytestmark = [
    pytest.mark.flow,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="Debian's chromium is not installed"),
]
PAGES = ("/fleet", "/ask", ASKED, "/projects", "/people", "/audit")


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
        name = path.partition("&")[0].strip("/").replace("?", "-")
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


def test_a_question_is_built_by_clicking_asked_and_charted(operator, shots):
    page = operator.go("/ask")
    page.locator("input[value='Modality=CT']").check()
    page.locator("input[value='Modality=MR']").check()
    page.locator("select[name=from-PatientAge]").select_option("50")
    expect(page.locator("#where")).to_have_value("Modality IN ('CT', 'MR') AND PatientAge >= 50")
    page.locator("select[name=by]").select_option("PatientSex")
    page.locator("select[name=by2]").select_option("PatientAge")
    page.locator("#question button").click()
    expect(page.locator("#where")).to_have_value("Modality IN ('CT', 'MR') AND PatientAge >= 50")
    expect(page.locator("main")).to_contain_text("rho 0.01")
    operator.is_content("the cost")

    page.locator("form button.secondary", has_text="Ask without").click()

    page.wait_for_url("**/ask/*")
    expect(page.locator("#states tr", has_text="VALUE").locator("td").first).to_have_text("2")
    expect(page.locator("canvas")).to_have_count(1)
    expect(page.locator("main")).to_contain_text("2 of 2 hospitals answered")
    expect(page.locator("#answers")).to_contain_text("alpha")
    expect(page.locator("main")).to_contain_text("mean")
    for size, width in (("wide", WIDE), ("phone", PHONE)):
        page.set_viewport_size(width)
        operator.is_content(f"answers {size}")
        page.screenshot(path=shots / f"federation-answers-{size}.png", full_page=True)
    page.set_viewport_size(WIDE)
    with page.expect_download() as told:
        page.locator("a", has_text="CSV").click()
    rows = told.value.path().read_text().splitlines()
    assert rows[0].startswith("site,state,rule,epoch,sigma,rho,PatientSex,PatientAge")
    assert rows[1].startswith("alpha,VALUE,,2026Q4,10.0,")
