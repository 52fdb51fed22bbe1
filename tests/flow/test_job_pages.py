"""The pages of jobs and reports, asked over HTTP: who sees what, what is refused, what is inert."""

import http.client
import json
import time
from contextlib import closing
from html import unescape
from statistics import median
from urllib.parse import urlsplit

import numpy as np
import pytest

from coordinator.evaluation.checking import check
from protos import bundle
from protos.identity import Role
from protos.v1 import job_pb2
from tests.fakes.tested import signature_of
from tests.fakes.tested_jobs import TESTING, TRAINING, a_working_federation, packed
from tests.fakes.two_finders import dices, of_boxes, of_masks, pairs

pytestmark = pytest.mark.flow
GOAL_SECONDS = 0.2
WRONG = (
    "/jobs?after=%00", "/jobs/%2e%2e%2fx", "/jobs/none", "/reports/none/report.json",
    "/reports/compare?a=x&b=y", "/jobs/%00/curves?measure=%00&after=9999",
)  # fmt: skip


@pytest.fixture(scope="module")
def working(tmp_path_factory):
    with a_working_federation(tmp_path_factory.mktemp("working"), 400) as federation:
        federation.operator = federation.federation.somebody("anna")
        yield federation


@pytest.fixture(scope="module")
def people(working):
    """Return one person of each role; the vendor is the jobs' own, the rival another's."""
    somebody = working.federation.somebody
    return {
        "operator": working.operator,
        "reviewer": somebody("ruth", Role.REVIEWER, "ethics-board"),
        "vendor": somebody("acme", Role.VENDOR, "acme"),
        "rival": somebody("rival", Role.VENDOR, "rival"),
        "auditor": somebody("otto", Role.AUDITOR, "audit-office"),
        "requester": somebody("alice", Role.REQUESTER, "uni"),
    }


def pages(working):
    running, reviewing = working.running.job_id, working.reviewing.job_id
    good, poor = working.good.job_id, working.poor.job_id
    return [
        "/jobs", "/jobs?stage=running&name=bright", f"/jobs/{running}", f"/jobs/{running}?round=1",
        f"/jobs/{running}/curves?measure=loss", f"/jobs/{reviewing}", f"/jobs/{reviewing}/code",
        "/reports", f"/reports/{good}", f"/reports/compare?a={good}&b={poor}",
    ]  # fmt: skip


def test_with_400_hospitals_a_page_takes_its_server_200_ms(working):
    for job in (working.good, working.poor):
        working.operator.get(f"/reports/{job.job_id}/report.json")  # made once, then kept
    slow = {}
    for path in pages(working):
        took = []
        for _ in range(5):
            # Of this process, which is client and server: other work on the machine does not count.
            began = time.process_time()
            assert working.operator.get(path).status == 200, path
            took.append(time.process_time() - began)
        if median(took) > GOAL_SECONDS:  # the bench has p95, by the clock
            slow[path] = took
    assert slow == {}


def test_a_report_that_is_being_made_says_so_and_comes(working):
    fresh = working.do(working.filled.tested(packed(TESTING.replace("NAME", "fresh"))))
    path = f"/reports/{fresh.job_id}"

    first = working.operator.get(path)

    assert first.status == 200
    until = time.monotonic() + 60
    while "being made" in (page := working.operator.get(path).text):
        assert "400 hospitals" in page
        assert time.monotonic() < until
        time.sleep(0.1)
    assert "lungs-2026" in page


@pytest.mark.parametrize(
    ("who", "statuses"),
    [
        ("operator", (200, 200, 200, 200, 200)),
        ("reviewer", (200, 200, 200, 200, 403)),
        ("vendor", (200, 200, 403, 200, 200)),
        ("rival", (200, 404, 403, 404, 200)),
        ("auditor", (200, 200, 403, 200, 403)),
        ("requester", (403, 403, 403, 403, 403)),
    ],
)
def test_each_role_sees_what_the_one_table_says(working, people, who, statuses):
    good, reviewing = working.good.job_id, working.reviewing.job_id
    paths = ("/jobs", f"/jobs/{reviewing}", f"/jobs/{reviewing}/code", f"/reports/{good}",
             "/jobs/submit")  # fmt: skip
    before = len(working.federation.events("call_refused"))

    found = tuple(people[who].get(path).status for path in paths)

    assert found == statuses
    denied = working.federation.events("call_refused")[before:]
    assert len(denied) == statuses.count(403)
    names = {"vendor": "acme", "requester": "alice", "auditor": "otto", "reviewer": "ruth"}
    assert all(event["caller"].endswith(f"/{names.get(who, who)}") for event in denied)
    if who == "rival":
        hidden = working.federation.events("job_hidden")
        assert {event["caller"] for event in hidden} == {"spiffe://demo/vendor/rival"}


def test_a_job_says_who_must_still_sign(working, people):
    page = people["reviewer"].get(f"/jobs/{working.reviewing.job_id}").text

    assert "2 of 2 reviews are missing." in page
    assert "ethics-board, uni" in page
    assert f"radfed job review {working.reviewing.job_id} --key reviewer.key" in page
    assert "radfed job review" not in people["auditor"].get(
        f"/jobs/{working.reviewing.job_id}"
    ).text  # fmt: skip
    listed = people["reviewer"].get("/jobs?stage=in_review").text
    assert "2 reviews missing" in listed


def test_code_is_text_and_its_changes_are_shown(working):
    page = working.operator.get(f"/jobs/{working.reviewing.job_id}/code").text

    assert "<script>alert(1)" not in page
    assert "&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt; ⟨U+202E⟩" in page
    assert ">-import numpy" in page
    assert ">+import scipy" in page
    assert "w.bin" in page.partition("Not compared here")[2]


def test_long_code_is_shown_to_its_end(working):
    code = "# one very long line: " + "x" * 50_000 + " END\n" + "y = 1\n" * 4000 + "# LAST\n"
    long = working.do(working.filled.job(packed(TRAINING, code)))

    page = working.operator.get(f"/jobs/{long.job_id}/code").text

    assert "x END" in page
    assert "# LAST" in page


def test_what_a_vendor_wrote_is_inert(working):
    page = working.operator.get(f"/jobs/{working.running.job_id}").text

    assert "Find &lt;b&gt;bright&lt;/b&gt; squares⟨U+202E⟩ in slices." in page
    assert "Beta &lt;2&gt;" not in page
    nasty = working.operator.get("/jobs?name=%3Cscript%3E%27%3B--%E2%80%AE&after=")
    assert nasty.status == 200
    assert "<script>'" not in nasty.text
    for path in WRONG:
        assert working.operator.get(path).status in {400, 404}, path


def test_withheld_and_failed_are_counted_with_their_codes_in_words(working):
    page = unescape(working.operator.get(f"/jobs/{working.running.job_id}?round=2").text)

    assert "failed: it took longer than the manifest declares" in page
    assert "withheld: its update has other tensors than the manifest declares (w)" in page
    assert "refused: less noise than the hospital demands" in page
    assert "× it took longer than the manifest declares" in page


def test_curves_come_a_stretch_at_a_time(working):
    path = f"/jobs/{working.running.job_id}/curves?measure=auc"

    stretches = [json.loads(working.operator.get(path).text)]
    while stretches[-1]["more"]:
        last = stretches[-1]["rounds"][-1][0]
        stretches.append(json.loads(working.operator.get(f"{path}&after={last}").text))
    rest = json.loads(working.operator.get(f"{path}&after=3").text)

    rounds = [one for stretch in stretches for one in stretch["rounds"]]
    assert [number for number, _ in rounds] == [1, 2, 3, 4]
    assert {len(row) for _, row in rounds} == {len(stretches[0]["sites"])} == {400}
    assert [number for number, _ in rest["rounds"]] == [4]
    assert len(stretches[0]["pooled"]) == 3


def test_a_job_is_stopped_by_a_confirmed_press_and_once(working, people):
    job = working.do(working.filled.job(packed(TRAINING)))
    path, page = f"/jobs/{job.job_id}/stop", f"/jobs/{job.job_id}"
    operator, vendor = people["operator"], people["vendor"]
    token = operator.get(page).token

    assert people["reviewer"].post(path, operator.get(page).token, confirm=job.job_id).status == 403
    assert "Stop this job" not in people["reviewer"].get(page).text
    assert operator.post(path, "forged", confirm=job.job_id).status == 403
    assert operator.post(path, vendor.get(page).token, confirm=job.job_id).status == 403
    assert operator.post(path, token).status == 400
    assert operator.post(path, token, confirm="another").status == 400
    assert people["rival"].post(path, people["rival"].get("/jobs").token,
                                confirm=job.job_id).status == 404  # fmt: skip
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert operator.post(path, token, foreign, confirm=job.job_id).status == 403
    assert ten_megabytes(working, path) == 413
    assert "running" in operator.get(page).text

    stopped = operator.post(path, token, confirm=job.job_id)
    late = vendor.post(path, vendor.get(page).token, confirm=job.job_id)

    assert "Stopped: every hospital drops it." in stopped.text
    assert "stopped by anna" in stopped.text
    assert late.status == 409
    assert "over already" in late.text
    (event,) = [e for e in working.federation.events("job_stopped") if e["job"] == job.job_id]
    assert event["by"] == "spiffe://demo/operator/anna"


def ten_megabytes(working, path):
    host = urlsplit(working.address)
    connection = http.client.HTTPConnection(host.hostname, host.port, timeout=20)
    with closing(connection):
        connection.putrequest("POST", path)
        connection.putheader("Content-Length", str(10 << 20))
        connection.endheaders()
        return connection.getresponse().status


def test_a_report_is_verified_and_downloaded(working, people):
    path = f"/reports/{working.good.job_id}"
    auditor = people["auditor"]
    page = auditor.get(path)
    while "being made" in page.text:
        page = auditor.get(path)
    key = signature_of("hospital-000").public_key().public_bytes_raw().hex()

    held = auditor.post(path, page.token, keys=f"hospital-000={key}")
    wrong = auditor.post(path, page.token, keys=f"hospital-000={'0' * 64}")
    broken = auditor.post(path, page.token, keys="<b>\u202e")

    assert "It holds" in held.text
    assert "hospital-000" in held.text.partition("that fit:")[2][:60]
    assert wrong.status == 409
    assert "the key of hospital-000 is not the one you named" in wrong.text
    assert broken.status == 400
    raw = auditor.get(f"{path}/report.json")
    seal = auditor.get(f"{path}/report.sig.json")
    assert "attachment" in raw.headers["content-disposition"]
    assert check(raw.body, seal.body, {"hospital-000": key}).flow.hospitals_asked == 400
    html = auditor.get(f"{path}/report.html")
    assert "attachment" in html.headers["content-disposition"]
    assert "Beta &lt;2&gt;" in html.text
    assert auditor.get(f"{path}/report.exe").status == 404


def test_failures_are_counted_in_a_report(working):
    page = unescape(working.operator.get(f"/reports/{working.good.job_id}").text)

    assert "352 hospitals with figures" in page
    assert "refused: less noise than the hospital demands" in page
    assert "failed: it took longer than the manifest declares" in page
    assert "with the finding, no score" in page


def test_two_products_of_one_protocol_are_compared(working):
    good, poor = working.good.job_id, working.poor.job_id

    page = working.operator.get(f"/reports/compare?a={good}&b={poor}").text

    assert "line second" in page
    assert "different protocols" not in page
    assert working.operator.get(f"/reports/compare?a={good}&b={good}").status == 400


PLACES = """
predictions = "boxes"
endpoint = "froc"
threshold = 0.5
hit = { by = "distance", at = 6 }
"""
SCORED = TESTING.partition('differed."\n')[2]


@pytest.fixture(scope="module")
def finders(working):
    """Return three tests of boxes, of which two compare, and one of masks that compares, too."""
    filled = working.filled
    rng = np.random.default_rng(3)
    found = of_boxes(list(pairs(rng, 80)))
    laid = of_masks(*dices(rng, 40))
    alone = job_pb2.EvaluationStatistics()
    alone.CopyFrom(found)
    alone.ClearField("comparison")

    def a_test(name, protocol):
        return packed(TESTING.replace(SCORED, protocol).replace("NAME", name))

    async def fill():
        old = a_test("old", PLACES)
        found.comparison.other_bundle = laid.comparison.other_bundle = bundle.digest(old)
        more = f'{PLACES}compare_with = "{bundle.digest(old).hex()}"\n'
        masks = more.replace(PLACES, 'predictions = "masks"\nendpoint = "dice"\n')
        return (
            await filled.tested(old, said=lambda _: alone),
            await filled.tested(a_test("new", more), said=lambda _: found),
            await filled.tested(a_test("mask", masks), said=lambda _: laid),
        )

    return working.do(fill())


def test_finders_and_drawers_have_pages_and_are_compared(working, finders):
    old, new, mask = (job.job_id for job in finders)
    for job in (old, new, mask):
        working.operator.get(f"/reports/{job}/report.json")

    shown, drawn = (unescape(working.operator.get(f"/reports/{job}").text) for job in (new, mask))
    page = unescape(working.operator.get(f"/reports/compare?a={old}&b={new}").text)
    unlike = unescape(working.operator.get(f"/reports/compare?a={old}&b={mask}").text)

    assert "nothing can be said" not in shown + drawn
    for words in ("FROC curve", "findings found by one alone", "mean sensitivity at 1/8"):
        assert words in shown
    for words in ("patients by Dice", "sign test", "signed ranks", "mean Dice by hospital"):
        assert words in drawn
    assert "each beside the other" in page
    assert "findings found by one alone" in page
    assert "ROC curves of both" not in page
    assert "different protocols" not in page
    assert "different protocols" in unlike


def test_a_command_is_shown_for_what_needs_a_key(people):
    page = unescape(people["vendor"].get("/jobs/submit?project=nodules&directory=a%3B+rm+-rf").text)

    assert "radfed job submit 'a; rm -rf' --key vendor.key --project nodules" in page
