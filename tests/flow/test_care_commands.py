"""patient merge, optout and ls, reindex, metrics: as an operator types them."""

import json
import re
import sqlite3
import urllib.error
import urllib.request
from hashlib import sha256

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydicom import dcmread
from pydicom.data import get_testdata_file

from gateway.app.metrics import ALL
from tests.fakes.running_gateway import Gateway

pytestmark = pytest.mark.flow

OLD, NEW = "QX4711-OLD", "QX4712-NEW"


def ct(patient_id, number):
    dataset = dcmread(get_testdata_file("CT_small.dcm"))
    dataset.PatientID = patient_id
    dataset.StudyInstanceUID = f"1.2.840.60.{number}"
    dataset.SeriesInstanceUID = f"1.2.840.61.{number}"
    dataset.SOPInstanceUID = f"1.2.840.62.{number}"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


@pytest.fixture
def gateway(tmp_path):
    return Gateway(tmp_path)


def test_patients_are_cared_for_while_the_gateway_runs(gateway):
    with gateway.running():
        gateway.take(ct(OLD, 1), ct(NEW, 2), ct("OTHER-9", 3))

        merged = gateway.json("patient", "merge", OLD, NEW, "--by", "li", "--reason", "typo")
        assert (merged["changed"], merged["studies"]) == (True, 2)
        assert gateway.json("status")["stored"]["patients"] == 2

        out = gateway.json("patient", "optout", "-", "--by", "li", stdin=f"{OLD}\n")
        assert (out["state"], out["studies"]) == ("withdrawn", 2)
        assert gateway.json("status")["stored"]["withdrawn"] == 1
        gateway.take(ct(OLD, 4))
        assert gateway.json("status")["stored"]["withdrawn"] == 1

    shown = gateway.json("looks")
    assert (len(shown["report_key"]), shown["looks"]) == (64, [])
    assert "no product has looked" in gateway("looks").stdout
    states = {row["patient"]: row["state"] for row in gateway.json("patient", "ls")}
    assert states == {merged["old"]: "withdrawn", merged["new"]: "withdrawn"}
    back = gateway.json("patient", "optout", NEW, "--undo", "--by", "li")
    assert back["state"] == "counted"
    events = [row["event"] for row in gateway.json("audit", "ls")]
    decided = ["patients_merged", "patient_withdrawn", "patient_readmitted"]
    assert [event for event in events if event.startswith("patient")] == decided
    said = gateway.log + gateway("audit", "ls").stdout + gateway("patient", "ls").stdout
    sent = [*gateway.home.glob("sent-*/*"), gateway.settings]
    kept = [p for p in gateway.home.rglob("*") if p.is_file() and p not in sent]
    for name in ("QX4711", "QX4712"):
        assert name not in said
        assert not [p.name for p in kept if name.encode() in p.read_bytes()]


def test_an_id_that_is_nobodys_is_refused(gateway):
    for name in ("", "UNKNOWN", "0000"):
        gateway("patient", "optout", name, expect=4)
    gateway("patient", "merge", "UNKNOWN", NEW, expect=4)

    assert gateway.json("patient", "ls") == []


def test_a_reason_that_names_the_patient_is_refused_and_kept_nowhere(gateway):
    done = gateway("patient", "optout", OLD, "--reason", "for qx4711 old, by mail", expect=4)

    assert "4711" not in done.stderr
    assert gateway.json("patient", "ls") == []


def test_a_patient_without_images_is_told_so_and_remembered(gateway):
    done = gateway("patient", "optout", OLD)

    assert "no image of this patient is here" in done.stderr
    assert [row["state"] for row in gateway.json("patient", "ls")] == ["withdrawn"]


def test_a_merge_in_a_circle_is_refused(gateway):
    gateway("patient", "merge", OLD, NEW)

    gateway("patient", "merge", NEW, OLD, expect=4)
    assert gateway.json("patient", "merge", OLD, NEW)["changed"] is False


def test_issuers_tell_patients_apart(gateway):
    gateway("patient", "optout", OLD, "--issuer", "A")
    gateway("patient", "optout", OLD, "--issuer", "B")

    assert len(gateway.json("patient", "ls")) == 2


def test_reindex_is_refused_while_the_gateway_runs(gateway):
    with gateway.running():
        done = gateway("reindex", expect=3)

    assert "stop it first" in done.stderr


def test_a_lost_index_is_rebuilt_with_every_decision_in_it(gateway):
    with gateway.running():
        gateway.take(ct(OLD, 1), ct(NEW, 2), ct("OTHER-9", 3))
    gateway("patient", "merge", OLD, NEW)
    gateway("patient", "optout", "OTHER-9")
    (gateway.state / "index.db").unlink()

    rebuilt = gateway.json("reindex")

    assert (rebuilt["instances"], rebuilt["withdrawn"], rebuilt["damaged"]) == (3, 1, 0)
    assert gateway.json("status")["stored"]["patients"] == 2


def test_a_damaged_index_is_moved_away_and_made_anew(gateway):
    with gateway.running():
        gateway.take(ct(OLD, 1))
    (gateway.state / "index.db").write_bytes(b"not a database" * 500)

    rebuilt = gateway.json("reindex")

    assert rebuilt["instances"] == 1
    assert (gateway.state / rebuilt["damaged_index"]).exists()


def spoil(path):
    """Flip one byte of a sealed record, as a failing disk would."""
    raw = bytearray(path.read_bytes())
    raw[1500] ^= 1
    path.write_bytes(raw)


def stored(gateway):
    return sorted((gateway.state / "store").glob("[0-9a-f][0-9a-f]/*/*/*.dcm"))


def test_a_file_whose_seal_is_broken_goes_to_quarantine_and_its_resend_is_taken(gateway):
    originals = [ct(OLD, number) for number in range(1, 4)]
    with gateway.running():
        gateway.take(*originals)
    names = [path.name for path in stored(gateway)]
    spoil(stored(gateway)[0])
    with gateway.running():
        gateway.take(*originals)
        (waiting,) = gateway.json("quarantine", "ls")
        assert "is damaged" in waiting["reason"]

    rebuilt = gateway.json("reindex", expect=8)

    assert (rebuilt["instances"], rebuilt["damaged"]) == (2, 1)
    assert set(rebuilt["quarantined"]) < {row["id"] for row in gateway.json("quarantine", "ls")}
    gateway("quarantine", "release", waiting["id"])
    with gateway.running():
        gateway.wait(lambda: gateway.json("status")["stored"]["instances"] == 3)
    assert [path.name for path in stored(gateway)] == names
    assert gateway.json("reindex")["damaged"] == 0


def test_with_a_key_that_opens_nothing_no_file_is_touched(gateway):
    with gateway.running():
        gateway.take(ct(OLD, 1), ct(NEW, 2))
    before = {path: sha256(path.read_bytes()).digest() for path in stored(gateway)}
    (gateway.state / "keys/site.secret").write_bytes(b"another site's secret, 32 bytes!")

    done = gateway("reindex", expect=9)

    assert "escrow" in done.stderr
    assert {path: sha256(path.read_bytes()).digest() for path in stored(gateway)} == before
    with sqlite3.connect(gateway.state / "index.db") as index:
        assert index.execute("SELECT count(*) FROM instance").fetchone()[0] == 2


def scraped(gateway):
    with urllib.request.urlopen(gateway.json("status")["metrics"]) as answer:
        return answer.read().decode()


def test_metrics_are_off_unless_the_site_opens_them(gateway):
    with gateway.running():
        assert gateway.json("status")["metrics"] is None


def test_metrics_count_what_happened_and_name_nobody(gateway):
    gateway.settings.write_text(gateway.settings.read_text() + "\n[metrics]\nport = 0\n")
    with gateway.running():
        gateway.take(ct(OLD, 1), ct(NEW, 2))
        text = scraped(gateway)
        base = gateway.json("status")["metrics"].removesuffix("/metrics")
        with urllib.request.urlopen(f"{base}/healthz") as answer:
            assert json.loads(answer.read()) == {"alive": True}
        with urllib.request.urlopen(f"{base}/readyz") as answer:
            assert json.loads(answer.read()) == {"receivers": True, "disk": True, "escrow": True}
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{base}/1.2.840.1")

    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert set(families) == {metric.name for metric in ALL}
    for metric in ALL:
        assert families[metric.name].documentation == metric.says
        for sample in families[metric.name].samples:
            assert set(sample.labels) == set(metric.labels)
            assert all(re.fullmatch(r"[a-z]+|\d", word) for word in sample.labels.values())
    (running,) = families["radfed_gateway_running"].samples
    (backlog,) = families["radfed_arrivals_waiting"].samples
    assert (running.value, backlog.value) == (1, 0)
    assert "1.2.840" not in text
    assert "4711" not in text
