"""Risky pixels in the vault lane: text is found, blanked and gone, or an operator looks."""


import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydicom import dcmread

from gateway.app.pixel_room import PixelRoom
from gateway.config import PixelLimits
from gateway.deid.pixel_rules import PixelSettings
from gateway.line.pixel_look import PixelLook
from gateway.line.text_reader import TextReader, is_installed
from tests.fakes.custody_house import House, dataset_of, shipped, written

pytestmark = [
    pytest.mark.flow,
    pytest.mark.skipif(not is_installed(), reason="text recognition: pip install -e '.[ocr]'"),
]
NAME = "SMITH^JOHN 1961-04-23"


@pytest.fixture(scope="module")
def room():
    room = PixelRoom(PixelLimits())
    yield room
    room.close()


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def settle(house, looker):
    line = house.line(house.index(), pixel_look=PixelLook(PixelSettings(), looker))
    while line.run_once():
        pass
    line.close()


def lettered(name, at=(20, 200)):
    """A shipped colour image with a name drawn into it, in black on white and small."""
    instance = shipped(name)
    dataset = dataset_of(instance)
    shape = (dataset.Rows, dataset.Columns, 3)
    values = np.frombuffer(dataset.PixelData, np.uint8)[: np.prod(shape)].reshape(shape)
    picture = Image.fromarray(values)
    font = ImageFont.load_default(14)
    ImageDraw.Draw(picture).text(at, NAME, font=font, fill=(255, 255, 0))
    dataset.PixelData = np.asarray(picture).tobytes()
    return written(dataset, instance), np.asarray(picture)


def test_a_name_in_an_ultrasound_is_blanked_and_nothing_far_from_text_changes(house, room):
    instance, before = lettered("examples_rgb_color.dcm")
    house.take(instance)

    settle(house, room)

    (path,) = house.files()
    kept = dcmread(path)
    after = kept.pixel_array
    changed = (before != after).any(axis=2)
    assert changed[205:212, 25:150].any()
    said = "".join(r.text for r in TextReader().read(after, closely=True))
    assert "SMITH" not in said
    assert "1961" not in said
    codes = [item.CodeValue for item in kept.DeidentificationMethodCodeSequence]
    assert "113101" in codes
    assert (kept.BurnedInAnnotation, kept.ImageType[0]) == ("NO", "DERIVED")
    assert (kept.Rows, kept.Columns) == before.shape[:2]
    record = house.store.record_of(path)
    assert record.facts.transfer_syntax_uid == kept.file_meta.TransferSyntaxUID
