import pytest

from gateway.errors import ConfigurationFault, IntegrityFault, Refused
from gateway.trust import Pins
from protos.root import fingerprint, succession
from tests.fakes.signers import FEDERATION, Signatories


@pytest.fixture
def people():
    return Signatories()


@pytest.fixture
def pins(tmp_path, people):
    pins = Pins(tmp_path / "keys" / "roots.crt", tmp_path / "data" / "manifest.json")
    pins.pin(people.root.certificate_pem)
    return pins


def test_nobody_is_believed_until_a_root_is_pinned(tmp_path, people):
    pins = Pins(tmp_path / "roots.crt", tmp_path / "manifest.json")

    assert (pins.roots(), pins.manifest(), pins.version()) == ([], None, 0)
    with pytest.raises(Refused, match="no pinned root"):
        pins.take_manifest(people.signed())


def test_a_manifest_of_the_pinned_root_takes_effect_and_survives_a_restart(pins, people, tmp_path):
    assert pins.pin(people.signed(version=3)) == {"pinned": "manifest", "version": 3}

    again = Pins(tmp_path / "keys" / "roots.crt", tmp_path / "data" / "manifest.json")
    assert again.manifest() == people.make(version=3)


def test_an_older_manifest_is_refused_and_the_newer_stays(pins, people):
    pins.pin(people.signed(version=3))

    with pytest.raises(Refused, match=r"version 2 .* older than the pinned one \(3\)"):
        pins.pin(people.signed(version=2))

    assert pins.version() == 3


def test_two_manifests_of_one_version_are_foul_play(pins, people):
    pins.pin(people.signed(version=3))

    pins.pin(people.signed(version=3))  # the same once more is nothing new
    with pytest.raises(Refused, match="two manifests of version 3"):
        pins.pin(people.signed(version=3, without="alice"))


def test_a_manifest_that_is_not_in_force_is_not_pinned(pins, people):
    now = int(people.now.timestamp())

    for wrong in ({"expires": now - 60}, {"not_before": now + 3600}):
        with pytest.raises(Refused, match="not in force"):
            pins.pin(people.signed(**wrong))


def test_another_root_comes_only_by_the_old_ones_word_or_by_demand(pins, people):
    other = Signatories()

    with pytest.raises(Refused, match="another root is pinned"):
        pins.pin(other.root.certificate_pem)
    with pytest.raises(Refused, match="no pinned root"):
        pins.pin(succession(other.root.key, FEDERATION, other.root.certificate))
    pins.pin(succession(people.root.key, FEDERATION, other.root.certificate))

    assert pins.roots() == [people.root.certificate, other.root.certificate]
    pins.pin(other.signed(version=7))
    pins.unpin_root(fingerprint(people.root.certificate))
    assert pins.roots() == [other.root.certificate]
    assert pins.version() == 7


def test_a_root_that_is_let_go_takes_its_manifest_with_it(pins, people):
    pins.pin(people.signed())
    pins.pin(Signatories().root.certificate_pem, another=True)

    pins.unpin_root(fingerprint(people.root.certificate))

    assert pins.manifest() is None
    with pytest.raises(ConfigurationFault, match="no root with"):
        pins.unpin_root("00")


def test_the_last_root_is_not_let_go(pins, people):
    with pytest.raises(ConfigurationFault, match="successor first"):
        pins.unpin_root(fingerprint(people.root.certificate))


def test_a_file_somebody_edited_is_no_manifest(pins, people, tmp_path):
    pins.pin(people.signed())
    file = tmp_path / "data" / "manifest.json"

    file.write_bytes(file.read_bytes().replace(b'"uni"', b'"foe"'))

    assert pins.manifest() is None
    (tmp_path / "keys" / "roots.crt").write_text("-----BEGIN CERTIFICATE-----\n")
    with pytest.raises(IntegrityFault, match="restore it"):
        pins.roots()


@pytest.mark.parametrize("raw", [b"", b"{}", b"-----BEGIN CERTIFICATE-----\n", b"\xff" * 10])
def test_anything_else_is_one_sentence(pins, raw):
    with pytest.raises((Refused, ConfigurationFault)):
        pins.pin(raw)
