"""custodian and reidentify as two people type them; nothing else opens the way back."""

import json
import sqlite3

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from tests.fakes.running_gateway import Gateway

pytestmark = pytest.mark.flow

REASON = "incidental finding, the ward calls back"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    made = Gateway(tmp_path_factory.mktemp("way-back"))
    dataset = dcmread(get_testdata_file("CT_small.dcm"))
    dataset.PatientID, dataset.IssuerOfPatientID = "QX4711", "HIS"
    dataset.StudyDate = "20190203"
    with made.running():
        made.take(dataset)
    for name in ("li", "wang"):
        made(
            "custodian", "add", name, "--recovery-code-file", made.home / "code",
            "--pass-key-file", made.home / f"{name}.key",
        )  # fmt: skip
    return made


@pytest.fixture(scope="module")
def stored(gateway):
    (path,) = (gateway.state / "store").glob("??/*/*/*.dcm")
    return dcmread(path)


def keys(gateway, *names):
    return [word for name in names for word in ("--pass-key", gateway.home / f"{name}.key")]


def test_two_custodians_learn_whose_a_pseudonym_is(gateway, stored):
    told = gateway.json(
        "reidentify", stored.PatientID, "--reason", REASON, *keys(gateway, "li", "wang")
    )

    assert told["patients"] == [{"patient_id": "QX4711", "issuer": "HIS"}]
    assert (told["kind"], told["people"], told["studies"]) == ("patient", ["li", "wang"], 1)
    last = gateway.json("audit", "ls")[-1]
    assert last["event"] == "reidentified"
    assert last["facts"]["reason"] == REASON
    assert (last["facts"]["first"], last["facts"]["second"]) == ("li", "wang")
    assert "QX4711" not in json.dumps(gateway.json("audit", "ls"))


@pytest.mark.parametrize(
    ("keyword", "kind", "true"),
    [
        ("StudyInstanceUID", "study", "study_uid"),
        ("SeriesInstanceUID", "series", "series_uid"),
        ("SOPInstanceUID", "instance", "sop_uid"),
    ],
)
def test_a_pseudonymous_uid_leads_back_to_the_true_one(gateway, stored, keyword, kind, true):
    lines = "".join((gateway.home / f"{name}.key").read_text() for name in ("wang", "li"))
    sent = dcmread(get_testdata_file("CT_small.dcm"))

    told = gateway.json("reidentify", stored[keyword].value, "--reason", REASON, stdin=lines)

    assert told["kind"] == kind
    assert told[true] == sent[keyword].value
    assert told["study_date"] == "2019-02-03"
    assert ("sop_uid" in told) == (kind == "instance")


@pytest.mark.parametrize(
    ("shown", "code"),
    [(("li",), 6), (("li", "li"), 6), ((), 6), (("li", "wang"), 0)],
)
def test_one_person_alone_learns_nothing(gateway, stored, shown, code):
    done = gateway(
        "reidentify", stored.PatientID, "--reason", REASON, *keys(gateway, *shown), expect=code
    )

    assert ("QX4711" in done.stdout) == (code == 0)


def test_a_key_that_was_guessed_opens_nothing_and_is_on_the_trail(gateway, stored):
    lines = (gateway.home / "li.key").read_text() + "wang:AAAA-BBBB-CCCC-DDDD\n"

    gateway("reidentify", stored.PatientID, "--reason", REASON, stdin=lines, expect=6)

    last = gateway.json("audit", "ls")[-1]
    assert (last["event"], last["facts"]["why"]) == ("reidentification_refused", "NotTwo")


@pytest.mark.parametrize(
    ("asked", "reason", "says"),
    [
        ("ABCDEFGHIJKLMNOP", REASON, "nothing here has that name"),
        ("QX4711", REASON, "neither a pseudonym"),
        ("ABCDEFGHIJKLMNOP", "why not", "ten characters"),
    ],
)
def test_what_cannot_be_asked_is_refused_and_kept_off_the_trail(gateway, asked, reason, says):
    both = keys(gateway, "li", "wang")

    done = gateway("reidentify", asked, "--reason", reason, *both, expect=4)

    assert says in done.stderr
    assert "QX4711" not in json.dumps(gateway.json("audit", "ls"))


def test_a_reason_that_names_the_patient_is_refused(gateway, stored):
    reason = "patient QX-4711 has a finding"

    gateway(
        "reidentify", stored.PatientID, "--reason", reason, *keys(gateway, "li", "wang"), expect=4
    )

    trail = gateway.json("audit", "ls")
    assert trail[-1]["event"] == "reidentification_refused"
    assert "QX-4711" not in json.dumps(trail)


def test_nobody_is_added_without_the_recovery_code(gateway):
    gateway("custodian", "add", "eve", stdin="AAAA-BBBB\n", expect=9)
    gateway("custodian", "add", "../eve", stdin="x\n", expect=4)

    assert [row["custodian"] for row in gateway.json("custodian", "ls")] == ["li", "wang"]


def test_a_file_that_was_slipped_in_counts_for_nothing(gateway, stored):
    folder = gateway.state / "keys" / "custodians"
    (folder / "eve.json").write_bytes((folder / "li.json").read_bytes())
    (gateway.home / "eve.key").write_text(
        (gateway.home / "li.key").read_text().replace("li:", "eve:")
    )
    try:
        assert {r["custodian"]: r["counts"] for r in gateway.json("custodian", "ls")} == {
            "eve": False, "li": True, "wang": True,
        }  # fmt: skip
        both = keys(gateway, "li", "eve")
        gateway("reidentify", stored.PatientID, "--reason", REASON, *both, expect=6)
    finally:
        (folder / "eve.json").unlink()


def test_whoever_is_removed_opens_nothing_any_more(gateway, stored):
    code = gateway.home / "code"
    gateway("custodian", "add", "zhao", "--recovery-code-file", code,
            "--pass-key-file", gateway.home / "zhao.key")  # fmt: skip
    both = keys(gateway, "li", "zhao")
    gateway("reidentify", stored.PatientID, "--reason", REASON, *both)

    gateway("custodian", "remove", "zhao", "--reason", "left the hospital")

    gateway("reidentify", stored.PatientID, "--reason", REASON, *both, expect=6)
    gateway("custodian", "remove", "zhao", "--reason", "left the hospital", expect=4)


def test_a_trail_that_was_altered_opens_nothing(gateway, stored):
    trail = gateway.state / "audit.db"
    with sqlite3.connect(trail) as connection:
        (body,) = connection.execute("SELECT body FROM trail WHERE number = 1").fetchone()
        connection.execute("UPDATE trail SET body = ? WHERE number = 1", (body + " ",))
    try:
        both = keys(gateway, "li", "wang")
        gateway("reidentify", stored.PatientID, "--reason", REASON, *both, expect=9)
    finally:
        with sqlite3.connect(trail) as connection:
            connection.execute("UPDATE trail SET body = ? WHERE number = 1", (body,))


def test_no_pass_key_and_no_original_is_at_rest(gateway):
    secrets = [(gateway.home / f"{name}.key").read_bytes().strip()[5:] for name in ("li", "wang")]
    for path in (path for path in gateway.state.rglob("*") if path.is_file()):
        raw = path.read_bytes()
        assert b"QX4711" not in raw
        assert not any(secret in raw for secret in secrets), path.name
