"""Which regions of whose images are blanked unseen, and what a profile may say of pixels."""

import pytest
from pydicom.dataset import Dataset

from gateway.deid.pixel_rules import PixelSettings, known_regions, shipped
from gateway.deid.pixels import RiskKind, risk
from gateway.deid.profile import load_profile
from gateway.errors import ConfigurationFault

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
NATIVE = "1.2.840.10008.1.2.1"
HEAD = 'name = "ours"\n[options]\nclean_pixel_data = true\n'
RULE = """
[[pixels.devices]]
manufacturer = "acme*"
model = "Echo ?"
rows = 480
columns = 640
regions = [[0, 0, 640, 40], [500, 440, 140, 40]]
reason = "its head and foot name the patient"
"""


def profile_of(tmp_path, text):
    path = tmp_path / "ours.toml"
    path.write_text(text)
    return load_profile(str(path))


def an_image(**elements):
    dataset = Dataset()
    dataset.Manufacturer, dataset.ManufacturerModelName = "ACME Medical", "echo 7"
    dataset.Rows, dataset.Columns, dataset.PhotometricInterpretation = 480, 640, "MONOCHROME2"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def test_a_rule_fits_its_device_and_its_size_alone(tmp_path):
    settings = profile_of(tmp_path, HEAD + RULE).pixels

    assert known_regions(settings, an_image()) == [(0, 0, 640, 40), (500, 440, 640, 480)]
    for other in ({"Rows": 481}, {"ManufacturerModelName": "echo 71"}, {"Manufacturer": "other"}):
        assert known_regions(settings, an_image(**other)) == []


def test_an_image_of_a_device_with_a_rule_does_not_pass_unseen(tmp_path):
    settings = profile_of(tmp_path, HEAD + RULE).pixels

    found = risk(CT, NATIVE, an_image(), settings)

    assert found is not None
    assert found.kind is RiskKind.DEVICE
    assert risk(CT, NATIVE, an_image(Rows=481), settings) is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[0, 0, 640, 40]", "[0, 0, 641, 40]", "reaches out"),
        ("[0, 0, 640, 40]", "[0, 0, 0, 40]", "is empty"),
        ("[[0, 0, 640, 40], [500, 440, 140, 40]]", "[]", "regions"),
        ('reason = "its head', 'motive = "its head', "unknown key"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_at_start(tmp_path, old, new, says):
    with pytest.raises(ConfigurationFault, match=says):
        profile_of(tmp_path, HEAD + RULE.replace(old, new))


def test_what_lies_around_the_regions_of_an_ultrasound_may_be_blanked_unread():
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMaxX1 = 100, 539
    region.RegionLocationMinY0, region.RegionLocationMaxY1 = 40, 479
    settings = PixelSettings(around_ultrasound="blank")
    image = an_image(SequenceOfUltrasoundRegions=[region])

    assert known_regions(settings, image) == [
        (0, 0, 640, 40),
        (0, 40, 100, 480),
        (540, 40, 640, 480),
    ]
    assert known_regions(PixelSettings(), image) == []
    region.RegionLocationMaxX1 = 900
    assert known_regions(settings, image) == []


def test_what_a_profile_says_of_pixels_is_in_its_digest(tmp_path):
    digests = {
        profile_of(tmp_path, text).digest
        for text in (HEAD, HEAD + RULE, HEAD + '[pixels]\nscreens = "clean"\n', 'name = "ours"\n')
    }

    assert len(digests) == 4


def test_a_profile_may_have_every_image_looked_at_and_no_map(tmp_path):
    settings = profile_of(tmp_path, HEAD + '[pixels]\nlook_at = "all"\n').pixels

    assert risk(MR, NATIVE, an_image(), settings) is not None
    assert risk(SEG, NATIVE, an_image(), settings) is None
    assert risk(MR, NATIVE, an_image(), PixelSettings()) is None


def test_the_shipped_profiles_clean_pixels_and_the_shipped_rules_are_valid():
    for name in ("research-strict", "research-longitudinal", "device-qa"):
        assert load_profile(name).cleaned_pixels is not None
    assert all(rule.corners for rule in shipped())
