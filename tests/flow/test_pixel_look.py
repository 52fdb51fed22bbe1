"""Risky pixels in the vault lane: text is found, blanked and gone, or an operator looks."""

import io
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from gateway.app.pixel_room import PixelRoom
from gateway.config import PixelLimits
from gateway.deid.pixel_rules import DeviceRule, PixelSettings
from gateway.line.pixel_look import LookInterrupted, PixelLook, is_installed
from gateway.line.pixel_wire import Answer, Question
from gateway.line.text_reader import TextReader
from gateway.store.files import Names
from tests.fakes.custody_house import House, dataset_of, shipped, written

pytestmark = pytest.mark.flow
reading = pytest.mark.skipif(
    not is_installed(), reason="text recognition is missing: pip install -e '.[ocr]'"
)
US = "examples_rgb_color.dcm"
NAME = "SMITH^JOHN 1961-04-23"
BOX = (slice(200, 218), slice(16, 190))  # where it is drawn


@pytest.fixture(scope="module")
def room():
    room = PixelRoom(PixelLimits())
    yield room
    room.close()


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


class Told:
    """A looker that answers what it is told, and remembers what it was asked."""

    def __init__(self, answer=None):
        self.answer = answer or Answer()
        self.asked: list[Question] = []

    def ask(self, question, _stopping):
        self.asked.append(question)
        return self.answer


def settle(house, looker, settings=None):
    look = PixelLook(settings or PixelSettings(), looker)
    line = house.line(house.index(), pixel_look=look)
    while line.run_once():
        pass
    line.close()


def colours_of(dataset):
    shape = (dataset.Rows, dataset.Columns, 3)
    return np.frombuffer(dataset.PixelData, np.uint8)[: np.prod(shape)].reshape(shape)


def lettered(text=NAME):
    """A shipped ultrasound image with a name drawn into it, as its device might."""
    dataset = dataset_of(shipped(US))
    picture = Image.fromarray(colours_of(dataset))
    font = ImageFont.load_default(14)
    ImageDraw.Draw(picture).text((20, 200), text, font=font, fill=(255, 255, 0))
    return dataset, np.array(picture)


@pytest.fixture(scope="module")
def reader():
    return TextReader()


@reading
def test_a_name_in_a_lossy_image_is_blanked_and_the_header_says_what_was_done(house, room, reader):
    dataset, drawn = lettered()
    stream = io.BytesIO()
    Image.fromarray(drawn).save(stream, "JPEG", quality=90)
    dataset.PixelData = encapsulate([stream.getvalue() + b"\0" * (stream.tell() % 2)])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.PhotometricInterpretation, dataset.PlanarConfiguration = "YBR_FULL_422", 0
    sent = written(dataset, shipped(US), transfer_syntax_uid=str(JPEGBaseline8Bit))
    before = get_decoder(JPEGBaseline8Bit).as_array(dataset, raw=True)[0]
    house.take(sent)

    settle(house, room)

    (path,) = house.files()
    kept = dcmread(path)
    after = colours_of(kept)
    said = [
        "".join(found.text for found in reader.read(values[190:230, :200], closely=False))
        for values in (drawn, kept.pixel_array)
    ]
    assert ["SMITH" in said[0], "1961" in said[0]] == [True, True]
    assert ["SMITH" in said[1], "1961" in said[1]] == [False, False]
    assert (before != after)[BOX].any()
    assert (before == after).all(axis=2).mean() > 0.75  # much else is written in this image
    assert np.array_equal(before[90:165, 60:260], after[90:165, 60:260])  # but not here
    assert kept.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (kept.PhotometricInterpretation, kept.LossyImageCompression) == ("YBR_FULL", "01")
    assert kept.LossyImageCompressionMethod == "ISO_10918_1"
    codes = [item.CodeValue for item in kept.DeidentificationMethodCodeSequence]
    assert codes[:2] == ["113100", "113101"]
    assert (kept.BurnedInAnnotation, kept.ImageType[0]) == ("NO", "DERIVED")
    record = house.store.record_of(path)
    assert record.facts.transfer_syntax_uid == ExplicitVRLittleEndian
    assert house.vault.counts() == {"incoming": 0, "quarantined": 0}


@reading
def test_a_process_that_dies_costs_one_instance_its_place_and_is_replaced(house):
    class Deadly(PixelRoom):
        def ask(self, question, stopping):
            os.kill(self._alive().pid, signal.SIGKILL)
            return super().ask(question, stopping)

    deadly = Deadly(PixelLimits())
    house.take(shipped(US))
    settle(house, deadly)

    (entry,) = house.vault.list()
    assert "ended the process" in entry.reason
    assert house.files() == []
    deadly.close()


def test_a_look_that_takes_too_long_is_ended(monkeypatch):
    monkeypatch.setattr("gateway.app.pixel_room.GRACE_SECONDS", 0.0)
    room = PixelRoom(PixelLimits(seconds_at_most=0.01))

    answer = room.ask(Question(b"", "1.2.840.10008.1.2.1"), lambda: False)

    assert "took longer" in answer.doubt
    assert room._process is None


def test_a_gateway_that_stops_leaves_the_instance_where_it_is(house):
    room = PixelRoom(PixelLimits())
    with pytest.raises(LookInterrupted):
        room.ask(Question(b"", "1.2.840.10008.1.2.1"), lambda: True)

    class Stopping:
        def ask(self, _question, _stopping):
            raise LookInterrupted("the gateway stops")

    house.take(shipped(US))
    line = house.line(house.index(), pixel_look=PixelLook(PixelSettings(), Stopping()))
    line.run_once()
    line.close()

    assert house.vault.counts() == {"incoming": 1, "quarantined": 0}
    assert list((house.base / "vault").rglob("*.trying")) == []


def test_arrivals_are_indexed_while_an_image_is_looked_at(house):
    started, go_on = threading.Event(), threading.Event()

    class Slow(Told):
        def ask(self, question, stopping):
            started.set()
            assert go_on.wait(30)
            return super().ask(question, stopping)

    index = house.index()
    line = house.line(index, pixel_look=PixelLook(PixelSettings(), Slow()))
    house.take(shipped(US))
    stop = threading.Event()
    running = threading.Thread(target=line.run, args=(stop,))
    running.start()
    try:
        assert started.wait(30)
        house.take(shipped("CT_small.dcm"))
        deadline = time.monotonic() + 30
        while index.counts()["instances"] < 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        indexed_meanwhile = index.counts()["instances"]
    finally:
        go_on.set()
        time.sleep(0.5)
        stop.set()
        running.join(30)
    assert indexed_meanwhile == 1


def test_a_look_that_finds_nothing_keeps_the_pixels_as_they_came(house):
    house.take(shipped("examples_jpeg2k.dcm"))

    settle(house, Told(Answer()))

    (path,) = house.files()
    kept = dcmread(path)
    sent = dataset_of(shipped("examples_jpeg2k.dcm"))
    assert kept.PixelData == sent.PixelData
    assert kept.BurnedInAnnotation == "NO"
    assert "113101" in [item.CodeValue for item in kept.DeidentificationMethodCodeSequence]
    assert kept.ImageType[0] == sent.ImageType[0]


@pytest.mark.parametrize(("colours", "lossy"), [("YBR_RCT", None), ("YBR_ICT", "01")])
def test_jpeg_2000_is_said_to_be_lossy_where_it_is(house, colours, lossy):
    instance = shipped("examples_jpeg2k.dcm")
    dataset = dataset_of(instance)
    dataset.PhotometricInterpretation = colours
    if "LossyImageCompression" in dataset:
        del dataset.LossyImageCompression
    house.take(written(dataset, instance))

    settle(house, Told(Answer(boxes=1, photometric="RGB", pixels=bytes(480 * 640 * 3))))

    (path,) = house.files()
    kept = dcmread(path)
    assert kept.get("LossyImageCompression") == lossy
    assert kept.PhotometricInterpretation == "RGB"
    assert kept.pixel_array.shape == (480, 640, 3)


def test_whoever_looks_at_pixels_is_told_nothing_of_the_patient(house):
    looker = Told()
    house.take(shipped(US))

    settle(house, looker)

    (question,) = looker.asked
    sent = dataset_of(shipped(US))
    for secret in (str(sent.PatientName), sent.PatientID, sent.StudyInstanceUID):
        assert secret.encode() not in question.dataset


def test_a_doubt_leaves_the_image_to_an_operator_whose_release_counts(house):
    house.take(shipped(US))
    settle(house, Told(Answer(doubt="its pixels may hold text that cannot be read for sure")))
    (entry,) = house.vault.list()
    assert (entry.place, "may hold text" in entry.reason) == ("(7FE0,0010)", True)

    house.vault.release(entry.id)
    settle(house, Told(Answer(doubt="asked again")))

    (path,) = house.files()
    kept = dcmread(path)
    assert kept.PixelData == dataset_of(shipped(US)).PixelData
    assert kept.get("BurnedInAnnotation") is None  # whoever released it said so, we did not look
    assert "113101" not in [item.CodeValue for item in kept.DeidentificationMethodCodeSequence]


def test_without_text_recognition_the_reason_says_how_to_install_it(house):
    house.take(shipped(US))

    settle(house, None)

    (entry,) = house.vault.list()
    assert "radfed[ocr]" in entry.advice


def test_text_that_is_declared_and_not_found_is_a_doubt(house):
    dataset = dataset_of(shipped("CT_small.dcm"))
    dataset.BurnedInAnnotation = "YES"
    house.take(written(dataset, shipped("CT_small.dcm")))

    settle(house, Told(Answer()))

    (entry,) = house.vault.list()
    assert "none was found" in entry.reason


@pytest.mark.parametrize(("screens", "kept"), [("quarantine", 0), ("clean", 1)])
def test_screens_wait_unless_the_profile_lets_them_through_cleaned(house, screens, kept):
    house.take(shipped("SC_rgb_rle.dcm"))

    settle(house, Told(Answer()), PixelSettings(screens=screens))

    assert (len(house.files()), house.vault.counts()["quarantined"]) == (kept, 1 - kept)


def test_an_image_that_says_no_text_is_burned_in_is_kept_unseen_where_nobody_can_look(house):
    dataset = dataset_of(shipped(US))
    dataset.BurnedInAnnotation = "NO"
    house.take(written(dataset, shipped(US)))

    settle(house, None)

    assert len(house.files()) == 1


def test_the_regions_of_a_device_are_asked_to_be_blanked(house):
    rule = DeviceRule(
        manufacturer="G*", model="LOGIQ*", rows=240, columns=320, regions=((0, 0, 320, 20),),
        reason="its head names the patient",
    )  # fmt: skip
    looker = Told()
    house.take(shipped(US))

    settle(house, looker, PixelSettings(devices=(rule,)))

    assert looker.asked[0].known == [(0, 0, 320, 20)]


@reading
def test_the_gateways_own_process_answers_over_its_pipe_and_dies_with_it():
    room = PixelRoom(PixelLimits())
    answer = room.ask(Question(b"\0", "1.2.840.10008.1.2.1"), lambda: False)
    process = room._process
    assert process is not None
    room.close()

    assert answer.doubt
    assert process.returncode is not None
    assert not Path(f"/proc/{process.pid}").exists()


def written_on(text="SMITH^JOHN"):
    """A CT of the express lane with a name at its highest value, as a workstation burns it in."""
    ct = shipped("CT_small.dcm")
    dataset = dataset_of(ct)
    values = (
        np.frombuffer(dataset.PixelData, np.int16).reshape(dataset.Rows, dataset.Columns).copy()
    )
    canvas = Image.new("1", values.shape[::-1])
    draw = ImageDraw.Draw(canvas)
    draw.fontmode = "1"
    draw.text((4, 4), text, font=ImageFont.load_default(18), fill=1)
    values[np.asarray(canvas)] = 4095
    dataset.PixelData = values.tobytes()
    dataset["PixelData"].VR = "OW"
    return written(dataset, ct), values


def test_a_ct_that_looks_written_on_is_read_before_it_counts(house):
    sent, values = written_on()
    blank = np.where(values == 4095, 0, values).astype(np.int16)
    looker = Told(Answer(boxes=1, photometric="MONOCHROME2", pixels=blank.tobytes()))
    house.take(shipped("CT_small.dcm"))
    index = house.index()
    line = house.line(index, pixel_look=PixelLook(PixelSettings(), looker))
    line.run_once()
    assert looker.asked == []  # a clean one
    assert house.vault.counts() == {"incoming": 0, "quarantined": 0}
    line.close()
    other = House(house.base / "other")
    other.take(sent)
    assert len(other.files()) == 1

    settle(other, looker)

    (question,) = looker.asked
    assert len(question.dataset) > values.nbytes
    (path,) = other.files()
    kept = dcmread(path)
    assert kept.pixel_array.max() < 4095
    assert (kept.BurnedInAnnotation, kept.ImageType[0]) == ("NO", "DERIVED")
    assert other.store.record_of(path).lane == "vault"
    assert other.vault.counts() == {"incoming": 0, "quarantined": 0}
    other.take(sent)  # the same again is still a duplicate
    settle(other, looker)
    assert len(looker.asked) == 1
    assert len(other.files()) == 1


def test_a_resend_while_it_is_looked_at_costs_neither_the_look_nor_the_image(house):
    sent, values = written_on()
    blank = np.where(values == 4095, 0, values).astype(np.int16)
    resent = []

    class Slow(Told):
        def ask(self, question, stopping):
            house.take(sent)
            (path,) = house.store.arrived(-1)
            resent.append((path, path.stat().st_ino, Names.of(house.store.record_of(path).facts)))
            return super().ask(question, stopping)

    looker = Slow(Answer(boxes=1, photometric="MONOCHROME2", pixels=blank.tobytes()))
    house.take(sent)
    line = house.line(house.index(), pixel_look=PixelLook(PixelSettings(), looker))
    line.run_once()  # into the vault

    line._emptying.take()
    house.store.let_go(*resent[0])  # as the other thread does, that had just sealed it too

    (path,) = house.files()
    assert dcmread(path).pixel_array.max() < 4095
    line.run_once()
    line.close()
    assert len(looker.asked) == 1


def test_what_only_seemed_written_on_stays_as_it_was(house):
    sent, values = written_on()
    house.take(sent)
    looker = Told()

    settle(house, looker)
    settle(house, looker)

    assert len(looker.asked) == 1
    (path,) = house.files()
    assert np.array_equal(dcmread(path).pixel_array, values)


def test_in_doubt_an_operator_looks_and_is_believed(house):
    sent, values = written_on()
    house.take(sent)
    looker = Told(Answer(doubt="its pixels may hold text that cannot be read for sure"))
    settle(house, looker)
    (entry,) = house.vault.list()
    assert house.files() == []
    assert "cannot be read for sure" in entry.reason

    house.vault.release(entry.id)
    settle(house, looker)

    assert len(looker.asked) == 1
    (path,) = house.files()
    assert np.array_equal(dcmread(path).pixel_array, values)


def test_where_nobody_can_read_text_nothing_is_suspected(house):
    house.take(written_on()[0])

    settle(house, None)

    assert len(house.files()) == 1
    assert house.vault.counts() == {"incoming": 0, "quarantined": 0}


@reading
def test_a_name_burned_into_a_ct_is_gone_from_the_store(house, room):
    house.take(written_on("ZHANG 4711")[0])

    settle(house, room)

    files = house.files()
    assert not any(4095 in dcmread(path).pixel_array[:26] for path in files)
    assert len(files) + house.vault.counts()["quarantined"] == 1
