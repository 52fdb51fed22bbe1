"""Jobs and reports in a real browser: both languages, a live job, a press that counts."""

import os
import time
from pathlib import Path

import pytest
from playwright.sync_api import expect

from coordinator.jobs.slip import ReviewSlip
from tests.fakes.chromium import CHROMIUM, PHONE, AtBrowser, a_browser, faults_of
from tests.fakes.tested_jobs import TRAINING, a_working_federation, packed

pytestmark = [
    pytest.mark.flow,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="Debian's chromium is not installed"),
]
NODES = "() => document.querySelectorAll('*').length"
HEAP = "() => performance.memory.usedJSHeapSize"


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """Return where screenshots go: a place that can be named, to look at them."""
    named = os.environ.get("RADFED_SCREENSHOTS")
    return Path(named) if named else tmp_path_factory.mktemp("screenshots")


@pytest.fixture(scope="module")
def working(tmp_path_factory):
    with a_working_federation(tmp_path_factory.mktemp("working"), 40) as federation:
        yield federation


@pytest.fixture(scope="module")
def browser():
    with a_browser() as running:
        yield running


@pytest.fixture(scope="module")
def anna(browser, working):
    one = AtBrowser(browser, working.address)
    one.make_account(working.federation.invite("anna"), "anna")
    yield one
    one.context.close()


def paths(working):
    running, reviewing = working.running.job_id, working.reviewing.job_id
    good, poor = working.good.job_id, working.poor.job_id
    return {
        "jobs": "/jobs",
        "jobs-none": "/jobs?name=nobody",
        "job": f"/jobs/{running}",
        "job-in-review": f"/jobs/{reviewing}",
        "job-code": f"/jobs/{reviewing}/code",
        "job-submit": "/jobs/submit",
        "reports": "/reports",
        "report": f"/reports/{good}",
        "report-compare": f"/reports/compare?a={good}&b={poor}",
    }


def speak(anna, tag):
    page = anna.go("/jobs")
    if page.locator("html").get_attribute("lang") != tag:
        page.locator(f"button[lang={tag}]").click()
    expect(page.locator("html")).to_have_attribute("lang", tag)
    return page


@pytest.mark.parametrize("tag", ["zh-CN", "en"])
def test_every_page_of_jobs_is_whole_in_both_languages(anna, working, shots, tag):
    page = speak(anna, tag)
    for job in (working.good, working.poor):
        anna.go(f"/reports/{job.job_id}")
        expect(page.locator("#together")).to_be_visible(timeout=30_000)  # it renews itself

    faults = {}
    for name, path in paths(working).items():
        anna.go(path)
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            if found := faults_of(page):
                faults[f"{path} {scheme}"] = found
            if tag == "en" or scheme == "light":
                page.screenshot(path=shots / f"{name}-{tag}-{scheme}.png")
    assert faults == {}
    assert anna.complaints.found == []


def test_a_live_job_of_400_hospitals_is_followed_and_does_not_grow(browser, tmp_path, shots):
    with a_working_federation(tmp_path, 400) as working:
        anna = AtBrowser(browser, working.address)
        anna.make_account(working.federation.invite("anna"), "anna")
        follow(anna, working, shots)
        anna.context.close()


def follow(anna, working, shots):
    job = working.running.job_id
    page = anna.go(f"/jobs/{job}")
    expect(page.locator("#curves canvas")).to_have_count(1)
    waiting = [name for at, name in enumerate(s for i, s in enumerate(working.filled.sites)
                                              if i % 10 != 9) if at % 3]  # fmt: skip
    row = page.locator("#sites tbody tr", has_text=waiting[0]).first
    expect(row).to_contain_text("queued")
    states = page.locator("#states")
    before, heap = page.evaluate(NODES), page.evaluate(HEAP)

    for at in range(0, len(waiting), 80):
        working.report(job, 4, waiting[at : at + 80], 0.5)
        left = len(waiting) - min(at + 80, len(waiting))
        if left:
            expect(states).to_contain_text(f"queued {left}")

    expect(row).to_contain_text("released")
    expect(states).not_to_contain_text("queued")
    working.turn(working.running, 4)
    newest = page.locator("#ends tbody tr").first
    expect(newest).to_contain_text("360")  # under way, in the fifth round
    expect(page.locator("#ends tbody tr").nth(1)).to_contain_text("0.770 (0.750 – 0.790)")
    expect(page.locator("#round")).to_have_text("5")
    one_row = 9
    assert page.evaluate(NODES) <= before + one_row + 1
    assert page.evaluate(HEAP) < heap + (16 << 20)
    expect(page.locator("#curves canvas")).to_have_count(1)
    anna.is_content("a live job")
    page.locator("section[data-job]").screenshot(path=shots / "job-rounds.png")


def test_a_job_opened_before_its_first_round_is_live(anna, working):
    job = working.do(working.filled.job(packed(TRAINING), decided=False))
    page = anna.go(f"/jobs/{job.job_id}")
    expect(page.locator("#waiting")).to_be_visible()
    expect(page.locator("#progress")).to_be_hidden()
    expect(page.locator("#states")).to_contain_text("undecided 40")

    working.do(working.filled.rounds(job, 1))

    expect(page.locator("#progress")).to_be_visible(timeout=15_000)
    expect(page.locator("#waiting")).to_have_count(0)
    expect(page.locator("#ends tbody tr")).to_have_count(1)
    expect(page.locator("#round")).to_have_text("1")
    expect(page.locator("#curves canvas")).to_have_count(1)
    expect(page.locator("#states")).to_contain_text("queued")
    anna.is_content("a job whose first round began")


def test_a_measure_and_a_hospital_are_chosen_by_keyboard(anna, working):
    page = anna.go(f"/jobs/{working.running.job_id}")
    expect(page.locator("#curves canvas")).to_have_count(1)
    page.locator("#measure").focus()

    with page.expect_response("**/curves?measure=loss*"):
        page.keyboard.press("ArrowDown")

    page.locator("#highlight").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#highlight")).to_have_value("0")
    expect(page.locator("#curves canvas")).to_have_count(1)
    anna.is_content("curves of a loss")


def test_a_job_is_stopped_with_a_tick_and_a_press(anna, working, shots):
    job = working.do(working.filled.job(packed(TRAINING)))
    page = anna.go(f"/jobs/{job.job_id}")
    button = page.locator("section.decide button")

    button.click()  # the browser itself asks for the tick

    assert page.url.endswith(job.job_id)
    page.locator("section.decide input[type=checkbox]").check()
    page.locator("section.decide").screenshot(path=shots / "job-stop.png")
    button.click()
    expect(page.locator("main [role=status]").first).to_contain_text("Stopped")
    expect(page.locator("main")).to_contain_text("stopped by anna")
    anna.is_content("a stopped job")


def test_a_report_is_verified_and_two_are_chosen(anna, working, shots):
    page = anna.go(f"/reports/{working.good.job_id}")
    expect(page.locator("#together")).to_be_visible(timeout=30_000)
    page.locator("summary", has_text="Verify").click()
    page.locator("details button").click()
    expect(page.locator("main [role=status]").first).to_contain_text("It holds")
    page.screenshot(path=shots / "report-verified.png", full_page=True)
    anna.is_content("a verified report")

    anna.go("/reports")
    page.locator(f"input[name=a][value='{working.good.job_id}']").check()
    page.locator(f"input[name=b][value='{working.poor.job_id}']").check()
    page.locator("main form button").click()

    expect(page.locator("svg .second")).to_have_count(1)
    anna.is_content("two products")


def test_a_reviewer_reads_a_job_on_a_phone(browser, working, shots):
    ruth = AtBrowser(browser, working.address)
    ruth.make_account(working.federation.invite("ruth", "reviewer", "ethics-board"), "ruth")
    ruth.page.set_viewport_size(PHONE)
    for name in ("jobs", "job", "job-in-review", "job-code", "report"):
        ruth.go(paths(working)[name])
        time.sleep(0.2)  # until a chart has its size
        ruth.page.screenshot(path=shots / f"{name}-phone.png")
        ruth.is_content(f"{name} on a phone")
    expect(ruth.page.locator("nav").first).not_to_contain_text("People")
    sign(ruth, working)
    expect(ruth.page.locator("main [role=status]").first).to_contain_text("Your review counts")
    expect(ruth.page.locator("#missing")).to_contain_text("1 of 2 reviews are missing")
    ruth.is_content("a review handed in on a phone")
    ruth.page.screenshot(path=shots / "job-reviewed-phone.png")
    ruth.context.close()


def sign(ruth, working):
    """Bring back the review that the page gave, signed where the key lies."""
    page = ruth.go(f"/jobs/{working.reviewing.job_id}")
    with page.expect_download() as given:
        page.locator("a[download='review.json']").click()
    slip = ReviewSlip.read(Path(given.value.path()).read_text())
    signed = slip.signed(working.people.keys["ruth"]).text()
    page.locator("input[type=file]").set_input_files(
        {"name": "review.signed.json", "mimeType": "application/json", "buffer": signed.encode()}
    )
    expect(page.locator("#signed")).to_have_value(signed)
    page.locator("section.decide button").first.click()
