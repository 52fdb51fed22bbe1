import html.parser
import json

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sklearn.metrics import average_precision_score, roc_auc_score

from coordinator.errors import IntegrityFault
from coordinator.evaluation.checking import Signature, check
from coordinator.evaluation.document import Report
from coordinator.evaluation.page import draw
from coordinator.evaluation.report import build
from protos.evaluation import Endpoint
from protos.reports import report_statement
from protos.scores import score_bin
from protos.v1 import job_pb2
from tests.fakes.tested import (
    PROTOCOL,
    ended,
    evidence,
    patients,
    released,
    signature_of,
    statistics,
)

KEY = Ed25519PrivateKey.from_private_bytes(b"c" * 32)
PUBLIC = KEY.public_key().public_bytes_raw().hex()


def compared():
    said = job_pb2.ProductComparison(other_bundle=b"o" * 32, this_alone=9, other_alone=2)
    said.positive_cells.extend([101, 1225, 1275])
    said.positive_counts.extend([4, 30, 20])
    said.negative_cells.extend([51, 1224])
    said.negative_counts.extend([60, 12])
    return said


def a_test():
    names = ("ankang", "beihai", "chengde")
    drawn = {name: patients(seed, 150, shift=seed / 5) for seed, name in enumerate(names)}
    sites = [
        released("ankang", statistics(*drawn["ankang"], compared(), (40, 3, 2, 25))),
        released("beihai", statistics(*drawn["beihai"], compared())),
        released("chengde", statistics(*drawn["chengde"])),
        ended("dali", "failed", "wall_limit"),
        ended("enshi", "withheld", "too_few_cases"),
        ended("fuzhou", "failed", "no_report"),
    ]
    return drawn, evidence(sites)


def signed(report):
    raw = report.model_dump_json(indent=1).encode()
    return raw, sealed(raw)


def sealed(raw, key=KEY):
    seal = Signature(
        public_key=key.public_key().public_bytes_raw().hex(),
        signature=key.sign(report_statement(raw)).hex(),
    )
    return seal.model_dump_json().encode()


def test_the_pooled_figures_are_those_of_the_pooled_table():
    drawn, given = a_test()

    report = build(given)

    scores, truth, _ = (np.concatenate(each) for each in zip(*drawn.values(), strict=True))
    bins = np.array([score_bin(float(score)) for score in scores])
    pooled = report.pooled
    assert pooled.auc.value == pytest.approx(roc_auc_score(truth, bins), abs=1e-9)
    assert pooled.auc.value == pytest.approx(roc_auc_score(truth, scores), abs=0.002)
    expected = average_precision_score(truth, bins)
    assert pooled.average_precision == pytest.approx(expected, abs=1e-9)
    called = scores >= 0.4
    assert pooled.shares["sensitivity"].value == pytest.approx(called[truth].mean(), abs=1e-9)
    assert pooled.shares["ppv"].value == pytest.approx(truth[called].mean(), abs=1e-9)
    assert report.within_site.sites == 3


def test_everybody_who_was_asked_is_in_the_report():
    _, given = a_test()

    report = build(given)

    assert (report.flow.hospitals_asked, report.flow.hospitals_reporting) == (6, 3)
    assert report.flow.not_reporting == {
        "failed: no_report": 1, "failed: wall_limit": 1, "withheld: too_few_cases": 1,
    }  # fmt: skip
    assert report.flow.timeouts == 2
    assert report.flow.patients_unscored["missing_positives"] == 6
    assert report.flow.patients_scored == 450
    assert [one.outcome for one in report.sites][3:] == [
        "failed: wall_limit", "withheld: too_few_cases", "failed: no_report",
    ]  # fmt: skip


def test_subgroups_are_pooled_over_the_hospitals_that_show_them():
    drawn, given = a_test()

    found = {(one.field, one.bin): one for one in build(given).subgroups}

    assert set(found) == {
        ("ManufacturerModelName", "Beta <2>"), ("PatientSex", "F"), ("PatientSex", "M"),
    }  # fmt: skip
    women = sum(int((sex == "F").sum()) for _, _, sex in drawn.values())
    of_women = found["PatientSex", "F"].figures
    assert of_women.positives + of_women.negatives == women
    assert of_women.auc.low < of_women.auc.value < of_women.auc.high


def test_products_and_readers_are_compared_where_hospitals_could():
    _, given = a_test()

    report = build(given)

    assert report.comparison.hospitals == ("ankang", "beihai")
    assert (report.comparison.positives, report.comparison.negatives) == (108, 144)
    assert report.comparison.calls.p < 0.01
    (readers,) = report.readers
    assert (readers.site, readers.cases) == ("ankang", 70)
    assert readers.cohen["1-2"].value == pytest.approx(readers.fleiss.value, abs=0.01)
    assert readers.consensus["11"] > 0.9


@pytest.mark.parametrize("sites", [[], [ended("dali", "withheld", "too_few_cases")]])
def test_no_figures_at_all_are_a_report_too(sites):
    report = build(evidence(sites))

    assert report.pooled is None
    assert report.flow.hospitals_asked == len(sites)
    assert "nothing can be said" in draw(report, "0" * 64)
    assert check(*signed(report), {}) == report


@pytest.mark.parametrize("endpoint", ["auc", "sensitivity", "specificity"])
def test_the_primary_endpoint_stands_first(endpoint):
    given = a_test()[1]
    protocol = PROTOCOL.model_copy(update={"endpoint": Endpoint(endpoint)})
    report = build(given.model_copy(update={"protocol": protocol}))

    page = draw(report, "0" * 64)

    value = report.pooled.auc if endpoint == "auc" else report.pooled.shares[endpoint]
    assert f"<td>{endpoint}: {value.value:.3f} ({value.low:.3f}-" in page


def test_a_comparison_that_nobody_could_make_is_said():
    protocol = PROTOCOL.model_copy(update={"compare_with": "0f" * 32})

    page = draw(build(evidence([], protocol=protocol)), "0" * 64)

    assert "No hospital could compare the two" in page


def test_a_report_survives_its_own_form_and_schema():
    _, given = a_test()
    report = build(given)

    assert Report.model_validate_json(report.model_dump_json()) == report
    schema = Report.model_json_schema()
    assert set(schema["required"]) <= set(json.loads(report.model_dump_json()))
    assert schema["additionalProperties"] is False


def test_the_domains_of_probast_ai_are_prefilled_and_left_to_be_judged():
    report = build(a_test()[1])

    assert [one.domain for one in report.probast_ai] == [
        "participants", "predictors", "outcome", "analysis",
    ]  # fmt: skip
    text = report.model_dump_json()
    assert "3 of 6 hospitals asked" in text
    assert "Two radiologists" in text
    assert {one.judgement for one in report.probast_ai} == {"to be made by a person"}


def test_an_honest_report_holds_and_knows_its_signers():
    raw, seal = signed(build(a_test()[1]))
    ankang = signature_of("ankang").public_key().public_bytes_raw().hex()

    assert check(raw, seal, {"coordinator": PUBLIC, "ankang": ankang}).flow.patients_scored == 450


def altered(change):
    """Return a report changed and signed again, as a coordinator that lies would do it."""
    document = json.loads(build(a_test()[1]).model_dump_json())
    change(document)
    raw = json.dumps(document).encode()
    return raw, sealed(raw)


def swap(document):
    first, second = document["evidence"]["sites"][:2]
    first["statistics"] = second["statistics"]


def better(document):
    document["pooled"]["auc"]["value"] += 0.01


def fewer(document):
    document["evidence"]["sites"].pop()


def later(document):
    document["evidence"]["sites"][0]["statistics"] = "A"


def lower(document):
    document["evidence"]["protocol"]["threshold"] = 0.3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (swap, "ankang did not sign"),
        (better, "figures are not"),
        (fewer, "figures are not"),
        (later, "damaged"),
        (lower, "figures are not"),
        (lambda document: document.pop("flow"), "form"),
        (lambda document: document.update(more=1), "form"),
    ],
)
def test_a_coordinator_cannot_change_what_hospitals_signed(change, words):
    with pytest.raises(IntegrityFault, match=words):
        check(*altered(change), {})


def test_one_byte_changed_is_found():
    raw, seal = signed(build(a_test()[1]))

    with pytest.raises(IntegrityFault, match="altered"):
        check(raw.replace(b'"reviews": 2', b'"reviews": 3'), seal, {})
    with pytest.raises(IntegrityFault, match="damaged"):
        check(raw, b"{}", {})


def test_another_signer_is_found_by_whoever_knows_the_right_one():
    raw, _ = signed(build(a_test()[1]))
    other = Ed25519PrivateKey.generate()

    with pytest.raises(IntegrityFault, match="coordinator"):
        check(raw, sealed(raw, other), {"coordinator": PUBLIC})
    with pytest.raises(IntegrityFault, match="ankang"):
        check(raw, sealed(raw), {"ankang": PUBLIC})


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen, self.links = [], {}, []

    def handle_starttag(self, tag, attrs):
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, _attrs):
        self.seen[tag] = self.seen.get(tag, 0) + 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_escapes_what_it_shows():
    report = build(a_test()[1])

    page = draw(report, "ab" * 32)

    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.links == []
    assert "script" not in tags.seen
    assert tags.seen["svg"] == 4
    assert "Find &lt;nodules&gt; &amp; say so." in page
    assert "Beta &lt;2&gt;" in page
    for words in ("ROC curve", "calibration", "AUC by hospital", "wall_limit", "PROBAST+AI",
                  "McNemar", "STAPLE", "no secure sum yet"):  # fmt: skip
        assert words in page
