"""Every option of Table E.1-1 as a switch: what it says of itself is true, in both engines."""

from functools import cache
from itertools import combinations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from gateway.deid import claims, tables
from gateway.deid.engine import OPTION_CODES, Deidentified, Deidentifier
from gateway.deid.explaining import explain
from gateway.deid.importing import import_tables
from gateway.deid.profile import Options, Profile, load_profile
from gateway.deid.rules import Rulebook
from gateway.deid.stream import NotUnderstood, StreamEngine
from gateway.deid.strictness import Relation, compare
from gateway.deid.walk import Encoding
from gateway.errors import ConfigurationFault
from gateway.line.encoding import encode, parse, silence_pydicom
from tests.fakes import part15

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
CT = "1.2.840.10008.5.1.4.1.1.2"
OPTIONS = tuple(sorted(tables.OPTIONS))
FULL, MODIFIED = "retain_longitudinal_full_dates", "retain_longitudinal_modified_dates"
KEYS = b"p" * 32, b"s" * 32
SHIPPED = ("research-strict", "research-longitudinal", "device-qa")


@pytest.fixture(scope="module")
def safe(tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "safe.csv"
    (text,) = [one.text for one in import_tables(part15.whole()) if one.label == "E.3.10-1"]
    path.write_text(text, "utf-8")
    return tables.load(tables.Sources(private=path))


def profile_with(options, safe=None, **more):
    chosen = dict.fromkeys(options, True)
    profile = Profile.model_validate({"name": "site", "options": chosen, **more})
    return profile.with_tables(safe) if safe else profile


def combinations_of_options():
    """Each option alone, every pair, and all that go together."""
    chosen = [(), *((one,) for one in OPTIONS), *combinations(OPTIONS, 2)]
    chosen += [tuple(set(OPTIONS) - {FULL}), tuple(set(OPTIONS) - {MODIFIED})]
    return [some for some in chosen if not {FULL, MODIFIED} <= set(some)]


def image(**attributes):
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CT, "1.2.3.4"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", "1.2.3.1"
    dataset.PatientName, dataset.PatientID = "Zhang^Xiaoming", "A0012345"
    dataset.PatientSex, dataset.PatientAge, dataset.PatientWeight = "F", "093Y", "61"
    dataset.StudyDate, dataset.StudyTime, dataset.DateOfLastCalibration = (
        "20210304",
        "1011",
        "20210101",
    )
    dataset.AcquisitionDateTime = "20210304101112"
    dataset.StationName, dataset.InstitutionName = "CT99", "Blackwater Infirmary"
    dataset.SeriesDescription, dataset.FrameOfReferenceUID = "HEAD 5.0", "1.2.3.99"
    dataset.Rows = dataset.Columns = 8
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def test_every_combination_of_options_says_truly_what_was_done(safe):
    silence_pydicom()
    for options in combinations_of_options():
        profile = profile_with(options, safe)
        done = Deidentifier(profile, *KEYS).apply(image(), EXPLICIT)
        assert isinstance(done, Deidentified), options
        kept = done.dataset

        codes = [item.CodeValue for item in kept.DeidentificationMethodCodeSequence]
        assert codes == ["113100", *(c for o, (c, _) in OPTION_CODES.items() if o in options)]
        assert kept.PatientIdentityRemoved == "YES"
        dates = {"UNMODIFIED": kept.get("StudyDate") == "20210304",
                 "MODIFIED": kept.get("StudyDate") not in ("", None, "20210304"),
                 "REMOVED": not kept.get("StudyDate")}  # fmt: skip
        assert dates[kept.LongitudinalTemporalInformationModified], options
        assert ("StationName" in kept and bool(kept.StationName)) == (
            "retain_device_identity" in options
        )
        assert bool(kept.get("InstitutionName")) == ("retain_institution_identity" in options)
        assert bool(kept.get("PatientWeight")) == ("retain_patient_characteristics" in options)
        assert (kept.FrameOfReferenceUID == "1.2.3.99") == ("retain_uids" in options)
        assert bool(kept.get("SeriesDescription")) == ("clean_descriptors" in options)
        assert kept.PatientAge in ("", "089Y") if "PatientAge" in kept else True


def test_options_named_in_the_file_are_those_of_the_table():
    assert set(OPTION_CODES) >= set(tables.OPTIONS)
    assert {*tables.OPTIONS} <= set(Options.model_fields)


def test_an_exception_that_leaves_more_is_said_in_the_file():
    reason = "asked for by the ethics board"
    attributes = {
        "PatientSex": {"action": "K", "reason": reason},
        "PatientWeight": {"action": "K", "reason": reason},
        "PatientName": {"action": "D", "reason": reason},  # within what Z asks for
        "SeriesDate": {"action": "C", "reason": reason},
        "Manufacturer": {"action": "X", "reason": reason},
    }
    profile = profile_with((), attributes=attributes)
    kept = Deidentifier(profile, *KEYS).apply(image(SeriesDate="20210304"), EXPLICIT).dataset

    assert claims.exceptions(profile) == ("SeriesDate C", "PatientSex K", "PatientWeight K")
    assert kept.DeidentificationMethod[3:] == ["except SeriesDate C, PatientSex K, PatientWeight K"]
    assert kept.LongitudinalTemporalInformationModified == "MODIFIED"


def test_many_exceptions_fit_the_values_they_are_said_in():
    names = [f"Attribute{number}WithALongName K" for number in range(30)]
    said = list(claims.method(names))

    assert all(len(value) <= 64 for value in said)
    assert ", ".join(value.removeprefix("except ") for value in said) == ", ".join(names)


@pytest.mark.parametrize(
    ("options", "keyword", "action", "says"),
    [
        ((), "PatientName", "K", "names a person"),
        ((), "OperatorsName", "C", "names a person"),
        ((), "PatientID", "K", "names a person"),
        ((), "PatientBirthDate", "C", "names a person"),
        ((MODIFIED,), "AcquisitionDate", "K", "gives them away"),
        ((FULL,), "AcquisitionDate", "C", "gives the shift away"),
        ((), "FrameOfReferenceUID", "K", "references would not meet"),
        ((), "SOPInstanceUID", "X", "filed under"),
        (("retain_uids",), "StudyInstanceUID", "U", "filed under"),
        ((), "PatientWeight", "U", "only UIDs"),
    ],
)
def test_an_exception_that_would_make_a_lie_of_it_is_refused(options, keyword, action, says):
    given_ = {keyword: {"action": action, "reason": "because we say so"}}

    with pytest.raises(ValueError, match=keyword) as refused:
        profile_with(options, attributes=given_)

    assert says in str(refused.value)


def private_image():
    dataset = image(SpecificCharacterSet="ISO_IR 192")
    acme = dataset.private_block(0x0029, "ACME SAFE", create=True)
    acme.add_new(0x10, "LO", "FILTER of Zhang Xiaoming")
    acme.add_new(0x11, "DA", "20210304")
    acme.add_new(0x12, "UI", "1.2.3.55")
    acme.add_new(0x13, "OB", b"Zhang^Xiaoming")
    acme.add_new(0x14, "US", [1, 2])
    acme.add_new(0x20, "LO", "not listed")
    dataset.private_block(0x0029, "ELSE", create=True).add_new(0x14, "US", 7)
    ge = dataset.private_block(0x0019, "GEMS_ACQU_01", create=True)
    ge.add_new(0x23, "DS", "39.37")
    inner = Dataset()
    inner.private_block(0x0029, "ACME SAFE", create=True).add_new(0x14, "US", 9)
    inner.ReferencedSOPInstanceUID = "1.2.3.77"
    dataset.ReferencedImageSequence = Sequence([inner])
    return dataset


@pytest.mark.parametrize("implicit", [False, True])
def test_safe_private_attributes_stay_cleaned_and_their_creators_with_them(safe, implicit):
    silence_pydicom()
    encoding = Encoding(implicit=implicit, big_endian=False)
    meeting = {"action": "U", "reason": "references still have to meet"}
    profile = profile_with(
        ("retain_safe_private", MODIFIED), safe, attributes={"ReferencedImageSequence": meeting}
    )
    sent = parse(encode(private_image(), encoding), encoding)
    done = Deidentifier(profile, *KEYS).apply(sent, IMPLICIT if implicit else EXPLICIT)
    assert isinstance(done, Deidentified), done
    kept = parse(encode(done.dataset, encoding), encoding)

    acme = kept.private_block(0x0029, "ACME SAFE")
    assert acme[0x14].value == [1, 2] or acme[0x14].value == b"\1\0\2\0"
    assert acme[0x10].value in ("FILTER of", b"FILTER of ")
    assert acme[0x11].value not in ("20210304", b"20210304", "", b"")
    assert str(acme[0x12].value).strip("b'").startswith("2.25.")
    assert 0x13 not in acme
    assert 0x20 not in acme
    assert kept.private_block(0x0019, "GEMS_ACQU_01")[0x23].value in (39.37, b"39.37 ")
    with pytest.raises(KeyError):
        kept.private_block(0x0029, "ELSE")
    (inner,) = kept.ReferencedImageSequence
    assert inner.private_block(0x0029, "ACME SAFE")[0x14].value in (9, b"\t\0")


def test_without_the_option_every_private_attribute_goes(safe):
    kept = Deidentifier(profile_with((), safe), *KEYS).apply(private_image(), EXPLICIT).dataset

    assert not [tag for tag in kept.keys() if tag.is_private]  # noqa: SIM118


def test_safe_private_is_refused_until_its_table_is_named(tmp_path):
    path = tmp_path / "site.toml"
    path.write_text('name = "a"\n[options]\nretain_safe_private = true\n', "utf-8")

    with pytest.raises(ConfigurationFault, match=r"not imported.*import-table"):
        load_profile(str(path))


@cache
def iods():
    return tables.load().iods


REAL = ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "reportsi.dcm", "JPEG2000.dcm", "rtdose.dcm")


@cache
def real(name):
    return dcmread(get_testdata_file(name), stop_before_pixels=True)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sets(st.sampled_from(OPTIONS)),
    st.sampled_from(["remove", "clean"]),
    st.integers(40, 100),
    st.sampled_from(REAL),
    st.booleans(),
)
def test_both_engines_agree_whatever_is_chosen(safe, options, narrative, age, name, implicit):
    silence_pydicom()
    if {FULL, MODIFIED} <= options:
        options = options - {FULL}
    profile = profile_with(sorted(options), safe, narrative=narrative, age_at_most=age)
    encoding = Encoding(implicit=implicit, big_endian=False)
    uid = IMPLICIT if implicit else EXPLICIT
    sent = private_image() if name == "CT_small.dcm" else real(name)
    raw = encode(sent, encoding)

    streamed = StreamEngine(profile, *KEYS).apply(raw, uid)

    if isinstance(streamed, NotUnderstood):
        return
    expected = Deidentifier(profile, *KEYS).apply(parse(raw, encoding), uid)
    assert streamed.facts == expected.facts
    ours, theirs = (
        parse(streamed.header, encoding),
        parse(encode(expected.dataset, encoding), encoding),
    )
    assert ours == theirs


def test_more_options_are_never_stricter_and_fewer_never_looser(safe):
    plain = profile_with((), safe)
    for option in OPTIONS:
        more = profile_with((option,), safe)
        assert compare(more, plain).relation is Relation.STRICTER, option
        expected = {Relation.LOOSER} if option != "clean_graphics" else {*Relation}
        assert compare(plain, more).relation in expected, option


@pytest.mark.parametrize(
    ("old", "new", "relation"),
    [
        ("research-longitudinal", "research-strict", Relation.STRICTER),
        ("research-strict", "research-longitudinal", Relation.LOOSER),
        ("research-strict", "device-qa", Relation.LOOSER),
        ("device-qa", "device-qa", Relation.SAME),
    ],
)
def test_the_shipped_profiles_are_related_as_their_names_say(old, new, relation):
    found = compare(load_profile(old), load_profile(new))

    assert found.relation is relation
    assert bool(found.why) == (relation is Relation.LOOSER)


def test_a_lower_age_is_stricter_and_a_higher_one_looser():
    young, old = (profile_with((), age_at_most=age) for age in (80, 89))

    assert compare(old, young).relation is Relation.STRICTER
    assert compare(young, old).relation is Relation.LOOSER


def test_explain_shows_every_element_at_every_depth_and_no_value():
    sent = private_image()
    item, deeper = Dataset(), Dataset()
    deeper.PatientName, deeper.CodeMeaning = "Zhang^Xiaoming", "of Zhang"
    item.OtherPatientIDsSequence = [deeper]
    sent.RequestAttributesSequence = [item, Dataset()]
    before = str(sent)

    rows = {row.path: row for row in explain(load_profile("research-strict"), sent)}

    assert rows["(0010,0010)"].action == "D"
    assert rows["(0008,1140)[1]>(0008,1155)"].action == "U"
    assert rows["(0040,0275)[1]>(0010,1002)[1]>(0010,0010)"].action == "X"
    assert rows["(0012,0063)"].action == "+"
    assert rows["(0029,1010)"].why == "private attribute"
    assert str(sent) == before
    assert "Zhang" not in repr(rows)


@pytest.mark.parametrize("name", ["CT_small.dcm", "reportsi.dcm", "rtplan.dcm"])
@pytest.mark.parametrize("profile", SHIPPED)
def test_explain_tells_of_real_files_what_the_engine_does(name, profile):
    silence_pydicom()
    sent, chosen = real(name), load_profile(profile)
    said = {row.path: row.action for row in explain(chosen, sent)}
    encoding = Encoding(implicit=False, big_endian=False)

    done = Deidentifier(chosen, *KEYS).apply(parse(encode(sent, encoding), encoding), EXPLICIT)

    for element in sent:
        if element.tag != 0x00080005 and said[place(element.tag)] == "X":
            assert element.tag not in done.dataset, keyword_for_tag(element.tag)
    for tag in done.dataset.keys():  # noqa: SIM118 - the tags
        assert said[place(tag)] != "X"


def place(tag):
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def test_a_kept_uid_is_kept_wherever_it_stands():
    rules = Rulebook(profile_with(("retain_uids",)))

    for keyword in ("ReferencedSOPInstanceUID", "FrameOfReferenceUID", "TrackingUID"):
        types = {
            sequence
            for sequence in iods().sequences()
            if tag_for_keyword(keyword) in iods().items(sequence)
        }
        for sequence in types:
            assert rules.decide("ct-image", sequence, tag_for_keyword(keyword), "UI").action == "K"
