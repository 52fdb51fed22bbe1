"""The federation's console in a real browser: every page, both languages, no complaint."""

import json
import os
import re
import time
from pathlib import Path
from secrets import token_hex

import pytest
from playwright.sync_api import expect
from typer.testing import CliRunner

from coordinator.cli import query as query_commands
from coordinator.cli.keys import make_key
from protos.manifest import Project, Signer
from tests.fakes.chromium import CHROMIUM, PHONE, WIDE, AtBrowser, a_browser, faults_of
from tests.fakes.federation import make
from tests.fakes.federation_console import CONSOLE, a_console_at, install_manifest
from tests.fakes.running_gateway import Gateway
from tests.fakes.study import ct_slices

NASTY = "<img src=x onerror=alert(1)>\u202eevil"
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
    """A coordinator with two gateways that have no hospital, and a real one beside them."""
    home = tmp_path_factory.mktemp("federation")
    make(home, CONSOLE)
    key = home / "requester.key"
    until = int(time.time()) + 8640000
    install_manifest(
        home,
        signers=(
            Signer(role="requester", name="rita", organisation="uni", expires=until,
                   public_key=make_key(key)["public_key"]),
        ),
        projects=(
            Project(name="lungs", purpose=NASTY, legal_basis=NASTY, ethics=NASTY, expires=until,
                    organisations=("uni",), hospitals=("alpha", "tongji")),
        ),
    )  # fmt: skip
    with a_console_at(home, "alpha", "beta") as running:
        running.key = key
        gateway = Gateway(tmp_path_factory.mktemp("tongji"))
        gateway("enrol", running.do(running.running.invited("tongji")))
        with gateway.running():
            gateway.wait(lambda: gateway.json("status")["link"]["state"] == "connected", 60)
            gateway.take(*ct_slices(2))
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
                if found := faults_of(page):
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
    refused = page.locator("#answers tr", has_text="tongji")  # the real one demands a signature
    expect(refused).to_contain_text("REFUSED_POLICY")
    expect(refused).to_contain_text("sign this one")
    expect(page.locator("canvas")).to_have_count(1)
    expect(page.locator("main")).to_contain_text("3 of 3 hospitals answered")
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
    assert any(row.startswith("tongji,REFUSED_POLICY,unsigned,") for row in rows)


def test_a_question_signed_elsewhere_is_answered_by_a_real_hospital(operator, federation, tmp_path):
    page = operator.go("/ask?look=1&where=Modality+%3D+%27CT%27&by=PatientSex&project=lungs")
    with page.expect_download() as told:
        page.locator("a[download]").click()
    saved = tmp_path / "question.json"
    told.value.save_as(saved)
    words = ["sign", str(saved), "--key", str(federation.key), "--json"]
    done = CliRunner().invoke(query_commands, words)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["where"] == "Modality = 'CT'"
    assert said["project"] == "lungs"

    page.locator("input[type=file]").set_input_files(said["signed_file"])
    page.locator("button", has_text="Ask the hospitals").click()

    page.wait_for_url("**/ask/*")
    row = page.locator("#answers tr", has_text="tongji")
    expect(row).to_contain_text(re.compile(r"20\d\dQ[1-4]"))
    assert row.locator("code").first.inner_text() in {"VALUE", "BELOW_THRESHOLD"}
    key = federation.key.read_bytes()
    assert key not in page.content().encode()
    operator.is_content("a signed question")
    operator.go("/audit?event=question_asked")
    expect(page.locator("main")).to_contain_text("lungs")


def test_hostile_words_of_the_manifest_are_inert(operator):
    page = operator.go("/projects")

    expect(page.locator("main")).to_contain_text("<img src=x onerror=alert(1)>⟨U+202E⟩evil")
    operator.is_content("projects")


def test_the_trail_is_verified_by_a_press(operator):
    page = operator.go("/audit")

    page.locator("form[method=post] button.small").click()

    expect(page.locator("p.done")).to_contain_text("unbroken")
    assert operator.complaints.found == []


def test_somebody_else_comes_in_by_a_link_on_a_phone(operator, browser, shots):
    page = operator.go("/people")
    name = f"ou{token_hex(3)}"  # a second try finds the first one's account
    page.locator("main input[name=name]").fill(name)
    page.locator("select[name=role]").select_option("auditor")
    page.locator("button[value=invite]").click()
    link = page.locator("article code.secret").inner_text()
    auditor = AtBrowser(browser, operator.address, viewport=PHONE)
    auditor.make_account(link, name)

    auditor.go("/fleet")
    auditor.page.screenshot(path=shots / "federation-auditor-phone.png")
    auditor.go(ASKED)

    expect(auditor.page.locator("main")).not_to_contain_text("Ask without a signature")
    auditor.is_content("an auditor's ask")
    auditor.context.close()
