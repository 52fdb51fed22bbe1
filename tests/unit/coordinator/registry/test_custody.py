import json

import pytest

from coordinator.errors import ConfigurationFault, IntegrityFault, Refused
from coordinator.registry import custody
from coordinator.registry.custody import Custodian, seal, unseal

ANNA, BO = Custodian("anna", "correct horse battery"), Custodian("bo", "a staple of another kind")
KEY = b"the root's private key"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(custody, "SCRYPT_COST", 2**10)


@pytest.fixture
def sealed():
    return seal(KEY, "fingerprint", (ANNA, BO))


def test_both_custodians_together_open_the_root(sealed):
    assert unseal(sealed.key, sealed.shares, (BO, ANNA)) == KEY


@pytest.mark.parametrize("alone", [ANNA, BO])
def test_one_custodian_alone_does_not(sealed, alone):
    with pytest.raises(Refused, match="both of its custodians: anna, bo"):
        unseal(sealed.key, {alone.name: sealed.shares[alone.name]}, (alone,))


def test_a_wrong_passphrase_names_whose_it_is(sealed):
    with pytest.raises(Refused, match="bo's passphrase"):
        unseal(sealed.key, sealed.shares, (ANNA, Custodian("bo", "something else entirely")))


def test_one_custodian_cannot_stand_for_the_other(sealed):
    shares = {"anna": sealed.shares["anna"], "bo": sealed.shares["anna"]}

    with pytest.raises(ConfigurationFault, match="not bo's share"):
        unseal(sealed.key, shares, (ANNA, Custodian("bo", ANNA.passphrase)))


def test_shares_of_another_sealing_open_nothing(sealed):
    other = seal(KEY, "fingerprint", (ANNA, BO))

    with pytest.raises(IntegrityFault, match="another sealing"):
        unseal(sealed.key, {"anna": sealed.shares["anna"], "bo": other.shares["bo"]}, (ANNA, BO))


@pytest.mark.parametrize(
    "people",
    [
        (ANNA,),
        (ANNA, ANNA),
        (ANNA, BO, Custodian("cleo", "yet another passphrase")),
        (ANNA, Custodian("bo", "short")),
        (ANNA, Custodian("bo", ANNA.passphrase)),
    ],
)
def test_a_root_has_two_people_with_two_good_passphrases(people):
    with pytest.raises(ConfigurationFault):
        seal(KEY, "fingerprint", people)


def test_neither_file_holds_the_key_or_a_passphrase_in_the_clear(sealed):
    for content in (sealed.key, *sealed.shares.values()):
        json.loads(content)
        for secret in (KEY, ANNA.passphrase.encode(), BO.passphrase.encode()):
            assert secret not in content


def test_a_damaged_share_is_a_sentence(sealed):
    with pytest.raises(IntegrityFault, match="damaged"):
        unseal(sealed.key, sealed.shares | {"bo": b"{}"}, (ANNA, BO))
