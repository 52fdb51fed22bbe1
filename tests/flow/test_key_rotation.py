"""Keys that seal rotate: what they sealed before still opens, and a duplicate is still one."""

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from gateway.errors import ConfigurationFault, IntegrityFault
from gateway.keys import LOOK_AHEAD, Purpose, SiteSecret, key_versions, rotate_key
from gateway.store.sealed import Seal
from tests.fakes.running_gateway import Gateway

pytestmark = pytest.mark.flow


@pytest.fixture
def gateway(tmp_path):
    return Gateway(tmp_path)


def image(name="CT_small.dcm", **attributes):
    dataset = dcmread(get_testdata_file(name))
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def test_what_was_sealed_before_a_rotation_is_known_and_opened_after_it(gateway):
    risky = image("MR_small.dcm", BurnedInAnnotation="YES")
    with gateway.running():
        gateway.take(image(), risky)
        assert "stop it first" in gateway("keys", "rotate", "seal", expect=3).stderr
        gateway.wait(lambda: gateway.json("quarantine", "ls"))  # its pixels may be looked at first
    before = gateway.json("quarantine", "ls")

    for _ in range(2):
        gateway("keys", "rotate", "seal", "--by", "li")
        gateway("keys", "rotate", "vault")

    assert {row["key"]: row["version"] for row in gateway.json("keys", "ls")} == {
        "noise": 1, "pseudonym": 1, "seal": 3, "shift": 1, "vault": 3,
    }  # fmt: skip
    assert gateway.json("quarantine", "ls") == before
    with gateway.running():
        gateway.take(image(), risky)  # known by records and names of before
        assert gateway.json("status")["stored"]["instances"] == 1
        assert [row["id"] for row in gateway.json("quarantine", "ls")] == [before[0]["id"]]
        gateway.take(image(StudyDescription="corrected", PatientSex="O"))  # the same pixels
        assert gateway.json("status")["stored"]["instances"] == 1
    assert gateway.json("reindex")["instances"] == 1
    events = [row["event"] for row in gateway.json("audit", "ls")]
    assert events.count("key_rotated") == 4
    assert events.count("instance_superseded") == 1
    (entry,) = before
    gateway("quarantine", "release", entry["id"])
    with gateway.running():
        gateway.wait(lambda: gateway.json("status")["stored"]["instances"] == 2)


def test_the_noise_key_turns_beside_a_running_gateway_on_the_trail(gateway):
    with gateway.running():
        turned = gateway.json("keys", "rotate", "noise", "--by", "li")

    assert turned == {"key": "noise", "version": 2}
    assert {row["key"]: row["version"] for row in gateway.json("keys", "ls")}["noise"] == 2
    (event,) = [e for e in gateway.json("audit", "ls") if e["event"] == "key_rotated"]
    assert event["facts"] == {"key": "noise", "version": 2, "by": "li"}


def test_keys_that_splits_rest_on_do_not_rotate(gateway):
    for name in ("split", "nothing"):
        gateway("keys", "rotate", name, expect=4)
    for name in ("seal", "noise"):
        assert "--only-turn" in gateway("keys", "rotate", name, "--only-turn", expect=4).stderr


def test_a_restored_backup_opens_what_later_versions_sealed(tmp_path):
    secret = SiteSecret(bytes(range(32)))
    assert set(key_versions(tmp_path).values()) == {1}
    numbers = [rotate_key(tmp_path, Purpose.SEAL) for _ in range(3)]

    assert numbers == [2, 3, 4]
    ring, old = secret.ring(Purpose.SEAL, 4), secret.ring(Purpose.SEAL, 1)
    assert ring.newest in old.keys
    assert old.newest in ring.keys
    assert len(ring.keys) == len(set(ring.keys)) == 4 + LOOK_AHEAD
    assert ring.first == old.first == secret.subkey(Purpose.SEAL)
    assert repr(ring) == "Ring(...)"
    for one, other in ((ring, old), (old, ring)):
        prints = [Seal(keys).pixel_print() for keys in (one, other)]
        for each in prints:
            each.update(b"pixels")
        assert prints[0].finalize() == prints[1].finalize()


def test_versions_that_cannot_be_read_are_never_guessed(tmp_path):
    (tmp_path / "versions.json").write_text("{")

    with pytest.raises(IntegrityFault, match="restore"):
        key_versions(tmp_path)
    with pytest.raises(ConfigurationFault, match="does not rotate"):
        rotate_key(tmp_path, Purpose.PSEUDONYM)
