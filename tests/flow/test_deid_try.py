"""`deid try` and `deid import-table` as a person types them."""

import re
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import pydicom
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from gateway.deid import tables
from tests.fakes import part15
from tests.fakes.running_gateway import Gateway

pytestmark = pytest.mark.flow

HOSTILE = "<script>alert(1)</script>"
SLY = "QX\u202e\x07'\" onerror=x"


def image(number, name="CT_small.dcm", **attributes):
    dataset = dcmread(get_testdata_file(name))
    dataset.SOPInstanceUID = f"1.2.840.62.{number}"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.PatientID, dataset.PatientName = f"QX47{number}", "Featherstone^Quentin"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    return Gateway(tmp_path_factory.mktemp("try"))


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    image(1, SeriesDescription=HOSTILE, Manufacturer=HOSTILE).save_as(folder / "a<b>&.dcm")
    image(2, StudyDescription=SLY).save_as(folder / "b.dcm")
    image(3, "MR_small.dcm", SoftwareVersions="x" * 500).save_as(folder / "c.dcm")
    image(4, BurnedInAnnotation="YES").save_as(folder / "risky.dcm")
    (folder / "notes.txt").write_text("no image")
    return folder


class Page(HTMLParser):
    """What a browser would run, load or follow."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.handlers = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "href", "action"):
                self.addresses.append(value)
            if name.startswith("on"):
                self.handlers.append(name)


def test_a_dry_run_says_what_would_become_of_every_file_and_stores_nothing(gateway, sample):
    out = gateway.home / "out.html"

    told = gateway.json("deid", "try", sample, "--report", out)

    assert (told["files"], told["kept"], told["quarantined"], told["not_taken"]) == (5, 3, 1, 1)
    by_file = {row["file"]: row for row in told["tried"]}
    assert "burned into" in by_file["risky.dcm"]["reason"]
    assert by_file["risky.dcm"]["advice"]
    assert by_file["b.dcm"]["pixels"] == "unchanged"
    assert "Featherstone" not in str(told)
    status = gateway.json("status")
    assert (status["stored"]["instances"], status["arrivals"]) == (0, 0)
    assert status["vault"] == {"incoming": 0, "quarantined": 0}
    assert list((gateway.state / "run").glob("try-*")) == []
    assert out.stat().st_mode & 0o077 == 0


def test_the_report_shows_both_sides_and_runs_nothing(gateway, sample):
    out = gateway.home / "both.html"
    gateway("deid", "try", sample, "--report", out, "--profile", "research-longitudinal")
    text = out.read_text("utf-8")
    page = Page(text)

    assert "This page shows patients" in text
    assert "Featherstone^Quentin" in text
    assert "Basic Application Confidentiality Profile" in text
    assert "Signature" in text
    assert text.count("data:image/png") >= 4
    assert not {"script", "link", "iframe", "object", "form", "a"} & page.tags
    assert page.handlers == []
    assert all(address.startswith("data:image/png") for address in page.addresses)
    assert "&lt;script&gt;" in text
    assert "\u202e" not in text
    assert "\x07" not in text
    assert "default-src 'none'" in text


def test_pseudonyms_of_a_dry_run_are_nobodys(gateway, sample):
    made = []
    for name in ("one.html", "two.html"):
        gateway("deid", "try", sample / "b.dcm", "--report", gateway.home / name)
        text = (gateway.home / name).read_text("utf-8")
        made.append(re.findall(r"<td class=\"value\">([A-Z2-7]{16})</td>", text))

    assert made[0]
    assert not set(made[0]) & set(made[1])


def test_without_values_no_original_is_shown(gateway, sample):
    archive = gateway.home / "sample.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(sample / "b.dcm", "b.dcm")
    out = gateway.home / "blind.html"

    told = gateway.json("deid", "try", archive, "--report", out, "--no-values")

    text = out.read_text("utf-8")
    assert told["kept"] == 1
    assert "QX472" not in text
    assert "Featherstone" not in text
    assert "This page shows patients" not in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("SAMPLE", "--report", "HOME/out2/x.html"), "no directory"),
        (("HOME/none", "--report", "HOME/x.html"), "does not exist"),
        (("SAMPLE", "--report", "HOME/x.html", "--profile", "strictest"), "there is no"),
        (("SAMPLE", "--report", "HOME/code"), "exists already"),
    ],
)
def test_what_cannot_be_tried_is_said_in_a_sentence(gateway, sample, arguments, says):
    words = [
        word.replace("SAMPLE", str(sample)).replace("HOME", str(gateway.home)) for word in arguments
    ]

    assert says in gateway("deid", "try", *words, expect=4).stderr


def test_a_newer_table_is_imported_beside_the_settings_and_used_when_named(gateway):
    source = gateway.home / "part15.xml"
    source.write_bytes(part15.whole())

    told = gateway.json("deid", "import-table", source)

    assert [(row["table"], row["edition"]) for row in told["tables"]] == [
        ("E.1-1", "2031b"),
        ("E.3.10-1", "2031b"),
    ]
    assert gateway.json("deid", "import-table", source) == told  # once more changes nothing
    settings = gateway.settings.read_text()
    private = gateway.home / "private.toml"
    private.write_text('name = "private"\n[options]\nretain_safe_private = true\n')
    named = settings.replace('"research-strict"', '"private.toml"')
    try:
        gateway.settings.write_text(named)
        refused = gateway("preflight", expect=4).stderr
        assert "import-table" in refused
        used = "\n".join(f'{key} = "{path}"' for key, path in told["settings"].items())
        gateway.settings.write_text(named.replace("[deid]", f"[deid]\n{used}"))
        ok = {row["check"]: row["ok"] for row in gateway.json("preflight")}
        assert ok["profile"]
        moved = gateway.home / "deid-tables" / "e1-1-2031b.csv"
        moved.write_text(moved.read_text()[:-3000])
        tables.load.cache_clear()  # each command is a process of its own where this is no test
        assert "are damaged" in gateway("preflight", expect=4).stderr
        assert "exists and differs" in gateway("deid", "import-table", source, expect=4).stderr
    finally:
        gateway.settings.write_text(settings)


@pytest.mark.parametrize("content", [b"", b"<book/>", b"PK\3\4", b"\xff\xfe<\0"])
def test_a_table_that_is_none_is_refused_in_a_sentence(gateway, content):
    source = gateway.home / "wrong.xml"
    source.write_bytes(content)

    assert "not PS3.15" in gateway("deid", "import-table", source, expect=4).stderr


def test_files_of_the_wheel_are_kept_or_their_reason_says_what_to_change(gateway):
    folder, out = gateway.home / "wheel", gateway.home / "wheel.html"
    folder.mkdir()
    files = sorted((Path(pydicom.__file__).parent / "data").rglob("*.dcm"))
    for path in files[::3]:  # reading text takes its time
        (folder / path.name).write_bytes(path.read_bytes())

    told = gateway.json("deid", "try", folder, "--report", out, "--no-values")

    assert told["kept"] + told["quarantined"] + told["not_taken"] == told["files"] > 30
    assert told["kept"] > 5
    for row in told["tried"]:
        assert row["outcome"] == "kept" or row["reason"], row["file"]
        assert row["outcome"] != "quarantined" or row["advice"], row
    changed = [row for row in told["tried"] if row["pixels"] == "changed"]
    assert all(row["modality"] == "US" for row in changed)  # their banners, where text is read here
    assert len(changed) == told["pixels_changed"]
    assert out.stat().st_size < 4 << 20
