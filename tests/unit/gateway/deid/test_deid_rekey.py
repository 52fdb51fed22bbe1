"""Brought to newer subkeys, a stored instance is what a fresh arrival would become."""

import pytest

from gateway.deid import uids
from gateway.deid.engine import Deidentified, Deidentifier
from gateway.deid.profile import Profile, load_profile
from gateway.deid.rekey import Rekeyer, moved
from gateway.deid.restrict import Restricted
from gateway.deid.stream import Streamed, StreamEngine
from gateway.line.encoding import encode, parse, silence_pydicom
from gateway.model import Original, RealUID
from tests.unit.gateway.deid.test_stream_engine import headers

PSEUDONYMS = (b"p" * 32, b"q" * 32, b"r" * 32)
SHIFTS = (b"s" * 32, b"t" * 32)
PROFILES = {
    "strict": load_profile("research-strict"),
    "longitudinal": load_profile("research-longitudinal"),
    "own uids": Profile.model_validate(
        {
            "name": "site",
            "options": {"retain_uids": True, "retain_longitudinal_modified_dates": True},
        }
    ),
}
ROTATIONS = {
    "pseudonym": ((PSEUDONYMS[:1], SHIFTS[:1]), (PSEUDONYMS[:2], SHIFTS[:1])),
    "shift": ((PSEUDONYMS[:1], SHIFTS[:1]), (PSEUDONYMS[:1], SHIFTS)),
    "both, and twice": ((PSEUDONYMS[:1], SHIFTS[:1]), (PSEUDONYMS, SHIFTS)),
    "the second": ((PSEUDONYMS[:2], SHIFTS[:1]), (PSEUDONYMS, SHIFTS[:1])),
}
TRUE = Original("QX4711", "H", RealUID("1.2.3"), RealUID("1.2.4"), RealUID("1.2.5"), None)


@pytest.mark.parametrize("rotation", ROTATIONS)
@pytest.mark.parametrize("profile", PROFILES)
def test_real_files_come_out_as_if_they_arrived_now(profile, rotation):
    silence_pydicom()
    old, new = ROTATIONS[rotation]
    before, after = (Deidentifier(PROFILES[profile], *keys) for keys in (old, new))
    rekeyer, stream = Rekeyer(PROFILES[profile], *new), StreamEngine(PROFILES[profile], *new)
    equal = streamed = 0
    for name, raw, syntax, encoding in headers()[::9]:
        stored = before.apply(parse(raw, encoding), syntax)
        if not isinstance(stored, Deidentified):
            continue
        kept = parse(encode(stored.dataset, encoding), encoding)

        rekeyed = rekeyer.apply(kept, stored.facts, stored.original)

        fresh = after.apply(parse(raw, encoding), syntax)
        assert isinstance(rekeyed, Restricted), name
        assert rekeyed.facts == fresh.facts, name
        assert not rekeyer.is_newest(stored.facts)
        assert rekeyer.is_newest(rekeyed.facts)
        written = [encode(one.dataset, encoding) for one in (rekeyed, fresh)]
        assert parse(written[0], encoding) == parse(written[1], encoding), name
        quick = stream.apply(raw, syntax)
        if isinstance(quick, Streamed):
            assert quick.header == written[1], name
            streamed += 1
        equal += 1
    assert equal > 10
    assert streamed > 5


def test_a_rotation_reaches_every_kind_of_replacement():
    one, two = (uids.named(TRUE, PSEUDONYMS[:count]) for count in (1, 2))

    assert one.root == two.root == one.pseudonym != two.pseudonym
    assert uids.pseudo_uid("1.2.3", PSEUDONYMS[:1]) != uids.pseudo_uid("1.2.3", PSEUDONYMS[:2])
    texts = {uids.keyed_text("accession", "A1", PSEUDONYMS[:count]) for count in (1, 2, 3)}
    assert len(texts) == 3


def test_who_has_one_version_of_the_key_cannot_tell_the_next():
    held = uids.pseudo_uid("1.2.3", PSEUDONYMS[:2])
    guesses = [uids.pseudo_uid("1.2.3", key) for key in PSEUDONYMS]
    guesses += [uids.pseudo_uid("1.2.3", (PSEUDONYMS[0], PSEUDONYMS[0]))]

    assert held not in guesses
    assert held == uids.remapped(uids.pseudo_uid("1.2.3", PSEUDONYMS[0]), PSEUDONYMS[1:2])


def test_dates_move_by_the_difference_and_times_stay():
    assert moved("20190203", 31) == "20190103"
    assert moved("20190203", -31) == "20190306"
    assert moved("20190203113000.5+0800", 31) == "20190103113000.5+0800"
    assert moved("201902", 31) == "201901"
    assert moved("18500101", 365) == "18490101"  # a shift may well have gone so far
    for stays in ("19000101", "19000101000000", "", "nothing", "20191399"):
        assert moved(stays, 31) == stays
