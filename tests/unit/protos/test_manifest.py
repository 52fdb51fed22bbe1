import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from coordinator.registry import certificates as pki
from protos.manifest import Manifest, Project, Signer, read_manifest, sign_manifest
from protos.root import NotOfTheRoot, fingerprint, read_roots, read_succession, succession

NOW = datetime(2026, 11, 1, tzinfo=UTC)
ROOT, OTHER = (pki.make_root("demo", NOW) for _ in range(2))


def a_manifest(**changes):
    signer = Signer(
        role="requester", name="alice", organisation="uni", public_key="ab" * 32, expires=2000
    )
    project = Project(
        name="nodules",
        purpose="Find nodules.",
        legal_basis="consent",
        ethics="EC 1",
        organisations=("uni",),
        hospitals=("tongji",),
        expires=2000,
    )
    fields = {
        "federation": "demo",
        "version": 3,
        "not_before": 1000,
        "expires": 2000,
        "signers": (signer,),
        "projects": (project,),
    }
    return Manifest(**fields | changes)


def test_a_manifest_survives_its_file():
    raw = sign_manifest(a_manifest(), ROOT.key)

    assert read_manifest(raw, [ROOT.certificate]) == a_manifest()
    assert read_manifest(raw, [OTHER.certificate, ROOT.certificate]) == a_manifest()


def test_another_root_is_not_believed():
    with pytest.raises(NotOfTheRoot, match="no pinned root"):
        read_manifest(sign_manifest(a_manifest(), OTHER.key), [ROOT.certificate])
    with pytest.raises(NotOfTheRoot):
        read_manifest(sign_manifest(a_manifest(), ROOT.key), [])


@pytest.mark.parametrize(
    ("old", "new"), [("uni", "foe"), ("requester", "reviewer"), ("3", "4"), ("tongji", "hefei")]
)
def test_a_changed_word_breaks_the_signature(old, new):
    raw = sign_manifest(a_manifest(), ROOT.key).decode()
    text, _, tail = raw.partition('"signature"')

    with pytest.raises(NotOfTheRoot):
        read_manifest((text.replace(old, new) + '"signature"' + tail).encode(), [ROOT.certificate])


def test_a_repeated_key_cannot_hide_a_second_reading():
    raw = sign_manifest(a_manifest(), ROOT.key).decode()
    twice = raw.replace('"version": 3', '"version": 3,\n "version": 9')

    with pytest.raises(NotOfTheRoot):
        read_manifest(twice.encode(), [ROOT.certificate])


def test_a_succession_is_no_manifest_and_a_manifest_no_succession():
    word = succession(ROOT.key, "demo", OTHER.certificate)

    assert read_succession(word, [ROOT.certificate]) == ("demo", OTHER.certificate)
    with pytest.raises(NotOfTheRoot):
        read_manifest(word, [ROOT.certificate])
    with pytest.raises(NotOfTheRoot):
        read_succession(sign_manifest(a_manifest(), ROOT.key), [ROOT.certificate])
    renamed = json.dumps({"manifest": {}, "signature": json.loads(word)["signature"]})
    with pytest.raises(NotOfTheRoot):
        read_manifest(renamed.encode(), [ROOT.certificate])


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
@settings(max_examples=60)
def test_anything_else_is_not_of_the_root(raw):
    with pytest.raises(NotOfTheRoot):
        read_manifest(raw, [ROOT.certificate])


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 0},
        {"expires": 1000},
        {"federation": "Demo"},
        {"signers": a_manifest().signers * 2},
        {"projects": a_manifest().projects * 2},
        {"unknown": 1},
    ],
)
def test_what_no_manifest_can_say_is_refused(changes):
    with pytest.raises(ValidationError):
        a_manifest(**changes)


def test_it_is_in_force_from_its_first_second_to_its_last():
    manifest = a_manifest()

    assert [manifest.is_current(now) for now in (999, 1000, 1999, 2000)] == [0, 1, 1, 0]


def test_a_root_is_pinned_by_its_key_and_nothing_else_is_a_root():
    issuing = pki.make_issuing(ROOT, "demo", NOW)

    assert read_roots(ROOT.certificate_pem) == [ROOT.certificate]
    assert fingerprint(ROOT.certificate) != fingerprint(OTHER.certificate)
    with pytest.raises(ValueError, match="no root"):
        read_roots(issuing.certificate_pem)
