"""The hospital console in a real browser, over a gateway that a PACS and a vendor reached."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.fakes.chromium import CHROMIUM, PHONE, AtBrowser, a_browser, faults_of
from tests.fakes.console_hospital import CODE, a_hospital, hostile_slices, surplus

pytestmark = [
    pytest.mark.flow,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="Debian's chromium is not installed"),
]
PAGES = (
    "/", "/studies", "/quarantine", "/approvals", "/sent", "/sent/totals", "/sent/1", "/budget",
    "/policy", "/audit", "/sources", "/people",
)  # fmt: skip


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """Return where screenshots go: a place that can be named, to look at them."""
    named = os.environ.get("RADFED_SCREENSHOTS")
    return Path(named) if named else tmp_path_factory.mktemp("screenshots")


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    with a_hospital(tmp_path_factory.mktemp("hospital")) as running:
        running.push(*hostile_slices(), surplus())
        yield running


@pytest.fixture(scope="module")
def browser():
    with a_browser() as running:
        yield running


@pytest.fixture(scope="module")
def steward(browser, hospital):
    one = AtBrowser(browser, hospital.address)
    one.make_account(hospital.first_link(), "li")
    yield one
    one.context.close()


def other_steward(steward, browser, name):
    """Let one steward invite another."""
    page = steward.go("/people")
    page.locator("select[name=role]").select_option("steward")
    page.locator("button[value=invite]").click()
    link = page.locator("article code.secret").inner_text()
    other = AtBrowser(browser, steward.address)
    other.make_account(link, name)
    return other


@pytest.mark.parametrize("tag", ["zh-CN", "en"])
def test_every_page_is_whole_in_both_languages(steward, shots, tag):
    page = steward.go("/studies")
    if page.locator("html").get_attribute("lang") != tag:
        page.locator(f"button[lang={tag}]").click()
    expect(page.locator("html")).to_have_attribute("lang", tag)
    study_path = page.locator("#found th a").first.get_attribute("href")
    steward.go(study_path)
    series_path = page.locator("article a").first.get_attribute("href")
    steward.go("/quarantine")
    entry_path = page.locator("tbody a").first.get_attribute("href")

    faults = {}
    for path in (*PAGES, study_path, series_path, entry_path):
        steward.go(path)
        name = "-".join(path.split("/")[1:3])[:24] or "today"
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            if found := faults_of(page):
                faults[f"{path} {scheme}"] = found
        page.screenshot(path=shots / f"{name}-{tag}.png")
    assert faults == {}
    assert steward.complaints.found == []


def test_slices_follow_the_slider_and_show_no_one(steward):
    page = steward.go("/studies?modality=CT")
    page.locator("#found th a").first.click()
    page.locator("article a").first.click()
    slider = page.locator("input[type=range]")
    top = int(slider.get_attribute("max"))
    slider.focus()

    for _ in range(1, top):
        page.keyboard.press("ArrowRight")

    expect(page.locator("figure img")).to_have_attribute("src", page_source(page, top))
    expect(page.locator("figure img")).to_have_js_property("naturalWidth", 128)
    header = page.locator("table").inner_text()
    assert "PS3.15" in header
    assert "Featherstone" not in header
    steward.is_content("series")


def page_source(page, number):
    return page.locator("figure").get_attribute("data-slices") + f"{number}.png"


def test_today_counts_what_came_and_renews_itself(steward):
    page = steward.go("/")
    expect(page.locator("canvas")).to_have_count(1)

    with page.expect_response("**/today/live"):
        page.reload()
    expect(page.locator("main")).to_contain_text("CT")
    steward.is_content("today")


def test_a_quarantined_instance_is_released_and_stored(steward, hospital, shots):
    before = hospital.gateway.json("status")["stored"]["instances"]
    page = steward.go("/quarantine")
    page.locator("tbody a").first.click()
    page.screenshot(path=shots / "quarantine-entry.png", full_page=True)

    page.locator("button[value=release]").click()

    expect(page.locator("[role=status]")).to_be_visible()
    hospital.gateway.wait(
        lambda: hospital.gateway.json("status")["stored"]["instances"] == before + 1, 30
    )
    events = hospital.gateway.json("audit", "ls")
    (released,) = [e["facts"] for e in events if e["event"] == "quarantine_released"]
    assert released["by"] == "li"
    steward.is_content("quarantine")


def test_a_job_is_read_and_approved_once(steward, hospital, browser, shots):
    job = hospital.offer()
    wang = other_steward(steward, browser, "wang")
    theirs = wang.go(f"/approvals/{job}")
    page = steward.go("/approvals")
    page.locator(f"a[href='/approvals/{job}']").click()
    page.locator("summary", has_text="job.py").click()
    expect(page.locator("details[open] pre")).to_contain_text(
        "</pre><script>alert(1)</script> ⟨U+202E⟩"
    )
    steward.is_content("approval")
    page.screenshot(path=shots / "approval.png", full_page=True)

    page.locator("button[value=approve]").click()

    expect(page.locator("[role=status]")).to_contain_text("Approved")
    assert hospital.decided_by("job_approved", job) == "li"
    theirs.locator("button[value=approve]").click()  # who comes second is told who decided
    expect(theirs.locator("[role=alert]")).to_contain_text("Somebody was quicker")
    expect(theirs.locator("main")).to_contain_text("Decided by li")
    assert wang.complaints.found == []
    wang.context.close()


def test_a_changed_bundle_shows_what_changed_and_is_rejected_on_a_phone(
    steward, hospital, browser, shots
):
    job = hospital.offer(CODE + "import numpy.linalg\n")
    other = other_steward(steward, browser, "zhao")
    page = other.page
    page.set_viewport_size(PHONE)
    other.go(f"/approvals/{job}")
    expect(page.locator("pre.diff .more", has_text="+import numpy.linalg")).to_be_visible()
    other.is_content("approval on a phone")
    page.screenshot(path=shots / "approval-phone.png", full_page=True)
    other.context.clear_cookies()  # as if the session had ended meanwhile
    page.locator("textarea").fill("the purpose is not ours <b>\u202e")

    page.locator("button[value=reject]").click()

    assert "/login?next=%2Fapprovals%2F" in page.url
    assert hospital.stage(job) == "waiting"
    other.log_in()
    page.wait_for_url(f"{other.address}/approvals/{job}")
    page.locator("textarea").fill("the purpose is not ours <b>\u202e")
    page.locator("button[value=reject]").click()
    expect(page.locator("[role=status]")).to_contain_text("Rejected")
    assert hospital.decided_by("job_rejected", job) == "zhao"
    other.go("/audit?event=job_rejected")
    expect(page.locator("main")).to_contain_text("the purpose is not ours <b>⟨U+202E⟩")
    other.is_content("the trail on a phone")
    other.context.close()


def test_a_standing_rule_is_written_by_a_press(steward, hospital):
    job = hospital.offer(CODE + "import numpy.random\n")
    page = steward.go(f"/approvals/{job}")

    page.locator("button[value=always]").click()

    expect(page.locator("[role=status]")).to_contain_text("standing rule")
    rules = hospital.gateway.json("policy", "show")["jobs"]["standing"]
    assert [rule["vendor"] for rule in rules] == ["acme"]
    assert hospital.decided_by("job_approved", job) == "li"


def test_the_ledger_and_the_trail_are_verified_by_a_press(steward):
    for path in ("/sent", "/audit"):
        page = steward.go(path)
        page.locator("form[method=post] button.small").click()
        expect(page.locator("[role=status]")).to_contain_text("unbroken")
        steward.is_content(path)


def test_a_source_that_pushed_says_when(steward):
    page = steward.go("/sources")

    expect(page.locator("tbody tr").first).to_contain_text("PACS")
    expect(page.locator("tbody time").first).to_be_visible()
    page.locator("tbody button").first.click()  # nobody listens there
    expect(page.locator("[role=alert]")).to_be_visible()
    assert steward.complaints.found == []
