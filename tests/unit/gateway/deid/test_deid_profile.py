from pathlib import Path

import pytest
from pydicom.datadict import tag_for_keyword

from gateway.deid import tables
from gateway.deid.profile import load_profile
from gateway.deid.rules import Action, Rulebook, resolve
from gateway.errors import ConfigurationFault

CT = "1.2.840.10008.5.1.4.1.1.2"
SHIPPED = ("research-strict", "research-longitudinal", "device-qa")


def decide(profile: str, keyword: str, iod: str = "ct-image"):
    tag = tag_for_keyword(keyword)
    assert tag is not None
    return Rulebook(load_profile(profile)).decide(iod, None, tag, None)


def written(folder: Path, text: str) -> str:
    path = folder / "site.toml"
    path.write_text(text, "utf-8")
    return str(path)


def test_the_table_is_the_standards_whole():
    table = tables.load().profile

    assert len(table) == 617  # and 50xx, 60xx (2) and private rows, which are rules
    assert table[0x00100010].basic == "Z"
    assert table[0x00081140].basic == "X/Z/U*"
    assert table[0x00080020].options["retain_longitudinal_modified_dates"] == "C"


def test_a_damaged_table_is_refused():
    lines = [
        "tag," + ",".join(list(tables.COLUMNS.values())[1:]),
        '"(0010,0010)",Name,Y,Q' + "," * 10,
    ]

    with pytest.raises(ValueError, match="unknown action"):
        tables.read_profile(lines)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_profiles_load_and_each_exception_has_a_reason(name):
    profile = load_profile(name)

    assert profile.name == name
    assert all(len(override.reason) >= 10 for override in profile.attributes.values())


def test_digests_tell_profiles_apart_and_stay_the_same():
    digests = {load_profile(name).digest for name in SHIPPED}

    assert len(digests) == 3
    assert load_profile("research-strict").digest in digests


def test_a_digest_depends_on_what_decides_and_not_on_the_description(tmp_path):
    plain = load_profile(written(tmp_path, 'name = "a"')).digest
    described = load_profile(written(tmp_path, 'name = "a"\ndescription = "of ours"')).digest
    stricter = load_profile(written(tmp_path, 'name = "a"\nage_at_most = 80')).digest

    assert plain == described
    assert plain != stricter


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('name = "a"\nnam = 1', "`nam`: unknown key"),
        ('name = "a"\n[options]\nkeep_all = true', "`options.keep_all`: unknown key"),
        ('name = "a"\n[options]\nretain_safe_private = true', "not imported"),
        (
            (
                'name = "a"\n[options]\nretain_longitudinal_full_dates = true\n'
                "retain_longitudinal_modified_dates = true"
            ),
            "either kept or modified",
        ),
        (
            'name = "a"\n[attributes.PatientNme]\naction = "K"\nreason = "because we say so"',
            "keyword",
        ),
        ('name = "a"\n[attributes.PatientSex]\naction = "K"\nreason = ""', "at least 10"),
        ('name = "a"\n[attributes.PatientSex]\naction = "Q"\nreason = "because we say"', "action"),
        ("name = ", "not TOML"),
    ],
)
def test_a_wrong_profile_is_refused_in_one_sentence(tmp_path, text, says):
    with pytest.raises(ConfigurationFault) as refused:
        load_profile(written(tmp_path, text))

    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_unknown_profile_names_those_there_are():
    with pytest.raises(
        ConfigurationFault, match="device-qa, research-longitudinal, research-strict"
    ):
        load_profile("strictest")


@pytest.mark.parametrize(
    ("code", "of_type", "action"),
    [
        ("Z/D", "1", "D"), ("Z/D", "2", "Z"), ("Z/D", "3", "Z"),
        ("X/Z", "1", "Z"), ("X/Z", "2", "Z"), ("X/Z", "3", "X"),
        ("X/D", "1C", "D"), ("X/D", "2", "D"), ("X/D", "3", "X"),
        ("X/Z/D", "1", "D"), ("X/Z/D", "2C", "Z"), ("X/Z/D", "3", "X"),
        ("X/Z/U*", "1", "U"), ("X/Z/U*", "2", "Z"), ("X/Z/U*", "3", "X"),
        ("X", "1", "X"), ("U", "3", "U"),
    ],
)  # fmt: skip
def test_conditional_codes_follow_the_attributes_type(code, of_type, action):
    assert resolve(code, of_type) == action


@pytest.mark.parametrize(
    ("profile", "keyword", "action"),
    [
        ("research-strict", "PatientName", "D"),
        ("research-strict", "PatientBirthDate", "Z"),
        ("research-strict", "PatientSex", "K"),
        ("research-strict", "PatientWeight", "X"),
        ("research-longitudinal", "PatientWeight", "K"),
        ("research-strict", "StudyDate", "C"),
        ("research-strict", "SeriesDescription", "C"),
        ("research-strict", "ImageComments", "X"),
        ("research-longitudinal", "ImageComments", "C"),
        ("research-strict", "StationName", "X"),
        ("device-qa", "StationName", "K"),
        ("device-qa", "DateOfLastCalibration", "C"),
        ("research-strict", "InstitutionName", "X"),
        ("research-strict", "SOPInstanceUID", "U"),
        ("research-strict", "Rows", "K"),
        ("research-strict", "ImageType", "K"),
        ("research-strict", "PixelData", "K"),
        ("research-strict", "Manufacturer", "C"),
    ],
)
def test_options_and_exceptions_reach_the_attribute(profile, keyword, action):
    assert decide(profile, keyword).action == action


def test_what_the_iod_does_not_have_goes_whatever_the_table_keeps():
    assert decide("research-strict", "SegmentLabel").action is Action.REMOVE
    assert decide("research-longitudinal", "StudyComments").action is Action.REMOVE


@pytest.mark.parametrize(
    "tag", [0x00091001, 0x50003000, 0x60003000, 0x60FF0010, 0x00080000, 0x0008FFFE]
)
def test_private_repeating_length_and_unknown_attributes_go(tag):
    rules = Rulebook(load_profile("research-longitudinal"))

    assert rules.decide("ct-image", None, tag, "LO").action is Action.REMOVE


def test_an_unknown_vr_is_read_by_the_dictionary():
    rules = Rulebook(load_profile("research-strict"))

    for sent in (None, "UN", "SQ"):
        assert rules.decide("ct-image", None, 0x00081140, sent).vr == "SQ"
    assert rules.decide("ct-image", None, 0x00081140, "OB").action is Action.REMOVE


def test_the_commonest_classes_have_an_iod():
    iods = tables.load().iods

    assert iods.iod(CT) == "ct-image"
    assert iods.iod("1.2.840.10008.5.1.4.1.1.6") == iods.iod("1.2.840.10008.5.1.4.1.1.6.1")
    assert iods.iod("1.2.3.4") is None
