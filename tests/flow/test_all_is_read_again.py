"""`verify`: what was acknowledged is there to the byte, or is named with what to do."""

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames

from tests.fakes.running_gateway import Gateway

pytestmark = pytest.mark.flow


def ct(number, of="CT_small.dcm"):
    dataset = dcmread(get_testdata_file(of))
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.StudyInstanceUID = f"1.2.840.70.{number}"
    dataset.SeriesInstanceUID = f"1.2.840.71.{number}"
    dataset.SOPInstanceUID = f"1.2.840.72.{number}"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def commented(number):
    """Return a compressed image with a comment, which is blanked where it stands."""
    dataset = ct(number, "JPEG2000.dcm")
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    at = 4 + int.from_bytes(frame[4:6])
    comment = b"\xff\x64\x00\x12\x00\x01Featherstone! "
    dataset.PixelData = encapsulate([frame[:at] + comment + frame[at:]])
    return dataset


@pytest.fixture
def gateway(tmp_path):
    return Gateway(tmp_path)


def stored(gateway):
    return sorted((gateway.state / "store").glob("[0-9a-f][0-9a-f]/*/*/*.dcm"))


def test_what_changed_on_the_disk_is_found_set_aside_and_taken_again(gateway):
    sent = [*(ct(number) for number in range(1, 7)), commented(7)]
    with gateway.running():
        gateway.take(*sent)
        gateway.wait(lambda: len(stored(gateway)) == len(sent))
        sound = gateway.json("verify")
    assert (sound["files"], sound["advice"]) == (len(sent), {})
    assert not any(b"Featherstone!" in path.read_bytes() for path in stored(gateway))

    at_hand = [path for path in stored(gateway) if len(path.read_bytes()) > 30_000]
    flipped, cut, gone, one, other = at_hand[:5]
    flipped.write_bytes(
        flipped.read_bytes()[:-9] + bytes([flipped.read_bytes()[-9] ^ 1]) + b"8bytes!!"
    )
    cut.write_bytes(cut.read_bytes()[:-1000])
    gone.unlink()
    swapped = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(swapped)

    found = gateway.json("verify", expect=9)

    folder = gateway.state / "store"
    assert found["damaged"] == sorted(
        str(p.relative_to(folder)) for p in (flipped, cut, one, other)
    )
    assert found["missing"] == [str(gone.relative_to(folder))]
    assert set(found["advice"]) == {"damaged", "missing"}
    assert all("PACS" in says for says in found["advice"].values())

    moved = gateway.json("verify", "--set-aside", expect=9)
    assert len(moved["quarantined"]) == len(found["damaged"])
    reasons = [row["reason"] for row in gateway.json("quarantine", "ls")]
    assert sum("changed or cut" in reason for reason in reasons) == 2
    assert sum("name of another" in reason for reason in reasons) == 2

    with gateway.running():
        gateway.take(*sent)
        gateway.wait(lambda: len(stored(gateway)) == len(sent))
    assert gateway.json("verify")["advice"] == {}


def test_a_sealed_entry_that_was_cut_is_named_and_nothing_is_set_aside_while_it_runs(gateway):
    screen = dcmread(get_testdata_file("SC_rgb_rle.dcm"))
    with gateway.running():
        gateway.take(screen)
        gateway.wait(lambda: gateway.json("quarantine", "ls"))
        (entry,) = (gateway.state / "vault/quarantine").glob("*.sealed")
        entry.write_bytes(entry.read_bytes()[:-1])

        found = gateway.json("verify", expect=9)
        refused = gateway("verify", "--set-aside", expect=3)

    assert found["vault_damaged"] == [entry.stem]
    assert "stop it first" in refused.stderr
