"""`radfed gateway labels`, as a steward types it: import by accession number, ls, show."""

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from tests.fakes.running_gateway import Gateway

pytestmark = pytest.mark.flow
CT = get_testdata_file("CT_small.dcm")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    gateway = Gateway(tmp_path_factory.mktemp("hospital"))
    image = dcmread(CT)
    image.AccessionNumber = "A-4711"
    with gateway.running():
        gateway.take(image)
    return gateway


def test_labels_by_accession_number_find_their_study_and_name_the_lines_that_do_not(gateway):
    table = gateway.home / "labels.csv"
    table.write_text(
        "AccessionNumber,label,value,reader,adjudicated\n"
        "A-4711,lesion,POSITIVE,huber,\n"
        "A-4711,lesion,NEGATIVE,board,yes\n"
        "A-0815,lesion,POSITIVE,huber,\n"
    )

    imported = gateway.json("labels", "import", table, expect=8)

    assert imported["taken"] == 2
    assert imported["unknown_accession_lines"] == [4]
    (row,) = gateway.json("labels", "ls")
    assert (row["label"], row["cases"], row["positive"], row["negative"]) == ("lesion", 1, 0, 1)
    assert (row["readers"], row["adjudicated"], row["without_images"]) == (2, 1, 0)
    readers = gateway.json("labels", "show", "lesion")["by_reader"]
    assert {reader["reader"]: reader["as_it_stands"] for reader in readers} == {
        "board": 1,
        "huber": 0,
    }
    trail = gateway.json("audit", "ls")
    assert [event for event in trail if event["event"] == "labels_imported"]
    assert "4711" not in str(trail)


def test_bad_lines_are_named_and_nothing_of_the_file_is_taken(gateway):
    before = gateway.json("labels", "ls")
    table = gateway.home / "bad.csv"
    table.write_text("StudyInstanceUID,label,value\n1.2,a,POSITIVE\nHuber,a,POSITIVE\n1.2,,1\n")

    refused = gateway("labels", "import", table, expect=4)

    assert "line 3" in refused.stderr
    assert "line 4" in refused.stderr
    assert "Huber" not in refused.stderr
    assert gateway.json("labels", "ls") == before


def test_a_label_nobody_knows_is_an_error(gateway):
    assert "labels ls" in gateway("labels", "show", "nothing", expect=4).stderr
