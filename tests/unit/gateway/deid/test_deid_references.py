"""Keyed and consistent: what refers to each other still meets, years and engines apart."""

import re
import warnings
from datetime import date
from functools import cache

import pytest

from gateway.deid.engine import Deidentified, Deidentifier
from gateway.deid.profile import load_profile
from gateway.deid.stream import NotUnderstood, StreamEngine
from gateway.deid.walk import Encoding
from gateway.line.encoding import encode, parse, silence_pydicom
from tests.fakes import study

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
KEYS = b"p" * 32, b"s" * 32
PROFILES = ("research-strict", "research-longitudinal", "device-qa")
ENCODINGS = {
    EXPLICIT: Encoding(implicit=False, big_endian=False),
    IMPLICIT: Encoding(implicit=True, big_endian=False),
}


@cache
def sent():
    silence_pydicom()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [(dataset.Modality, dataset) for dataset in study.whole()]


def by_reference(profile, dataset, syntax=EXPLICIT):
    """A new engine each time: as another process, years later."""
    encoding = ENCODINGS[syntax]
    done = Deidentifier(load_profile(profile), *KEYS).apply(
        parse(encode(dataset, encoding), encoding), syntax
    )
    assert isinstance(done, Deidentified), (dataset.Modality, done)
    return parse(encode(done.dataset, encoding), encoding)


def uids(dataset, path=""):
    for element in dataset:
        here = f"{path}{element.keyword}"
        if element.VR == "SQ":
            for number, item in enumerate(element.value):
                yield from uids(item, f"{here}[{number}]>")
        elif element.VR == "UI" and element.value:
            yield here, str(element.value)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("profile", PROFILES)
def test_every_reference_still_meets(profile, syntax):
    own = {
        str(dataset[keyword].value)
        for _, dataset in sent()
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    } | {"1.2.840.60.1.9", "1.2.840.62.77"}
    kept = [by_reference(profile, dataset, syntax) for _, dataset in sent()]
    named = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    meeting = {str(one[keyword].value) for one in kept for keyword in named}
    checked = set()
    for (modality, before), after in zip(sent(), kept, strict=True):
        now = dict(uids(after))
        for path, uid in uids(before):
            if uid in own:
                assert now.get(path, "").startswith("2.25."), (modality, path)
                checked.add((modality, re.sub(r"\[\d+\]", "", path)))
                if "ReferencedSOPInstanceUID" in path:
                    assert now[path] in meeting, (modality, path)
    assert len({path for modality, path in checked if modality != "CT"}) > 20
    assert {modality for modality, _ in checked} == {"CT", "SEG", "SR", "PR", "RTSTRUCT"}


@pytest.mark.parametrize("profile", PROFILES)
def test_the_stream_engine_makes_the_same_of_every_object(profile):
    stream = StreamEngine(load_profile(profile), *KEYS)
    encoding = ENCODINGS[EXPLICIT]
    understood = 0
    for modality, dataset in sent():
        whole = parse(encode(dataset, encoding), encoding)
        whole.pop("PixelData", None)
        raw = encode(whole, encoding)
        streamed = stream.apply(raw, EXPLICIT)
        if isinstance(streamed, NotUnderstood):
            continue
        expected = by_reference(profile, whole)
        assert parse(streamed.header, encoding) == expected, modality
        understood += 1
    assert understood == len(sent())


def day(text):
    return date(int(text[:4]), int(text[4:6]), int(text[6:])).toordinal()


@pytest.mark.parametrize("profile", PROFILES)
def test_a_patient_has_one_shift_in_every_object_of_every_year(profile):
    years = [study.ct_slices(1, day_, f"1.2.840.60.{at}", f"1.2.840.61.{at}")[0]
             for at, day_ in enumerate(("20040229", "20190203", "20310101"))]  # fmt: skip
    shifts, times = set(), set()
    for before in [*years, *(dataset for _, dataset in sent())]:
        after = by_reference(profile, before)
        for element in before:
            if element.VR != "DA" or not element.value or element.keyword not in after:
                continue
            if moved := after[element.tag].value:
                shifts.add(day(str(element.value)) - day(str(moved)))
        if "AcquisitionTime" in before:
            times.add((str(before.AcquisitionTime), str(after.AcquisitionTime)))

    assert len(shifts) == 1
    assert shifts.pop() > 0
    assert times
    assert all(was == now for was, now in times)


@pytest.mark.parametrize("profile", PROFILES)
def test_nobody_is_named_in_any_object_and_nobody_is_older_than_the_cap(profile):
    for modality, dataset in sent():
        after = by_reference(profile, dataset)
        raw = encode(after, ENCODINGS[EXPLICIT])
        for name in (b"Featherstone", b"Rivera", b"QX471177", b"19300101", b"092Y", b"Blackwater"):
            assert name.lower() not in raw.lower(), (modality, name)
        if after.get("PatientAge"):
            assert after.PatientAge == "089Y"


def test_pseudonyms_depend_on_the_key_and_on_nothing_else():
    (_, ct), *_ = sent()
    encoding = ENCODINGS[EXPLICIT]
    other = Deidentifier(load_profile("research-strict"), b"q" * 32, b"s" * 32)
    elsewhere = other.apply(parse(encode(ct, encoding), encoding), EXPLICIT).dataset
    here = by_reference("research-strict", ct)
    again = by_reference("device-qa", ct)

    for keyword in ("PatientID", "StudyInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        assert here[keyword].value == again[keyword].value
        assert here[keyword].value != elsewhere[keyword].value
