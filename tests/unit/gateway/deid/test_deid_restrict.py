"""Brought to a stricter profile, a stored instance is what a fresh arrival would become."""

from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.deid.engine import Deidentified, Deidentifier, Refusal
from gateway.deid.profile import Profile, load_profile
from gateway.deid.restrict import Restricted, Restrictor
from gateway.deid.strictness import Relation, compare
from gateway.deid.walk import Encoding
from gateway.line.encoding import encode, parse, silence_pydicom
from tests.unit.gateway.deid.test_stream_engine import headers, instances

KEYS = b"p" * 32, b"s" * 32
FULL, MODIFIED = "retain_longitudinal_full_dates", "retain_longitudinal_modified_dates"
CLEAN = ("clean_descriptors", "clean_structured_content")
EXPLICIT = "1.2.840.10008.1.2.1"


def profile_with(*options, **more):
    chosen = dict.fromkeys(options, True)
    return Profile.model_validate({"name": "site", "options": chosen, **more})


PAIRS = {
    "shipped": (load_profile("research-longitudinal"), load_profile("research-strict")),
    "uids and true dates": (
        profile_with("retain_uids", FULL, "retain_institution_identity", *CLEAN),
        profile_with(MODIFIED, "clean_descriptors"),
    ),
    "no dates": (profile_with(MODIFIED, "retain_device_identity"), profile_with()),
    "another shift": (
        profile_with(MODIFIED, shift_days_at_most=400),
        profile_with(MODIFIED, shift_days_at_most=3650),
    ),
    "younger": (
        profile_with(FULL, "retain_patient_characteristics", age_at_most=100),
        profile_with(MODIFIED, "retain_patient_characteristics", age_at_most=60),
    ),
}


@cache
def some_headers():
    return headers()[::4]


def brought_over(old, new, raw, syntax, encoding):
    """Return the stored form brought to the new profile, and a fresh arrival's, each with facts."""
    stored = Deidentifier(old, *KEYS).apply(parse(raw, encoding), syntax)
    if not isinstance(stored, Deidentified):
        return None
    kept = parse(encode(stored.dataset, encoding), encoding)
    restricted = Restrictor(old, new, *KEYS).apply(kept, stored.facts, stored.original)
    fresh = Deidentifier(new, *KEYS).apply(parse(raw, encoding), syntax)
    return restricted, fresh


@pytest.mark.parametrize("pair", PAIRS)
def test_real_files_come_out_as_if_they_were_fresh(pair):
    silence_pydicom()
    old, new = PAIRS[pair]
    assert compare(old, new).relation is Relation.STRICTER
    equal = 0
    for name, raw, syntax, encoding in some_headers():
        found = brought_over(old, new, raw, syntax, encoding)
        if found is None:
            continue
        restricted, fresh = found
        assert isinstance(restricted, Restricted), (name, restricted)
        assert restricted.facts == fresh.facts, name
        again = [parse(encode(one.dataset, encoding), encoding) for one in (restricted, fresh)]
        assert again[0] == again[1], name
        equal += 1
    assert equal > 30


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(instances(), st.sampled_from(sorted(PAIRS)))
def test_any_dataset_keeps_no_more_than_a_fresh_one(dataset, pair):
    silence_pydicom()
    old, new = PAIRS[pair]
    encoding = Encoding(implicit=False, big_endian=False)
    try:
        raw = encode(dataset, encoding)
    except (UnicodeEncodeError, LookupError, ValueError, TypeError):
        return

    found = brought_over(old, new, raw, EXPLICIT, encoding)

    if found is None or isinstance(found[1], Refusal):
        return
    restricted, fresh = found
    if isinstance(restricted, Refusal):
        return  # it stays as it was, and is named
    assert restricted.facts == fresh.facts
    theirs = parse(encode(fresh.dataset, encoding), encoding)
    for element in parse(encode(restricted.dataset, encoding), encoding):
        if element.keyword != "SpecificCharacterSet" and element.value:
            assert element.tag in theirs, element.keyword
