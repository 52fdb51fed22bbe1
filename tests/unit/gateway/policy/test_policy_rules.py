import pytest
from pydantic import ValidationError

from gateway.errors import ConfigurationFault
from gateway.policy import (
    DEFAULT_POLICY_TOML,
    REFUSE_ALL,
    LivePolicy,
    Policy,
    exact,
    parse_policy,
    pin_vendor,
)

KEY = "ab" * 32


def test_the_written_default_is_the_default():
    assert parse_policy(DEFAULT_POLICY_TOML) == Policy()


def test_by_default_no_vendor_is_heard_and_no_update_leaves_without_noise():
    jobs = Policy().jobs

    assert jobs.vendors == ()
    assert jobs.standing == ()
    assert jobs.allow_no_noise is False
    assert jobs.vendor_of(bytes.fromhex(KEY)) is None


def test_an_unknown_key_is_refused():
    with pytest.raises(ValidationError):
        parse_policy("[questions]\nsigmas = 3\n")


def test_a_refused_field_must_be_a_word_of_the_vocabulary():
    with pytest.raises(ValidationError, match="no such field"):
        parse_policy('[questions]\nrefused_fields = ["PatientName"]\n')


def test_a_pinned_vendor_is_found_by_key_and_the_comments_stay():
    text = pin_vendor(DEFAULT_POLICY_TOML, "acme", KEY.upper())

    assert parse_policy(text).jobs.vendor_of(bytes.fromhex(KEY)).name == "acme"
    assert text.startswith(DEFAULT_POLICY_TOML)


@pytest.mark.parametrize(("name", "key"), [("acme", "zz" * 32), ("Not A Name", KEY)])
def test_what_is_no_vendor_cannot_be_pinned(name, key):
    with pytest.raises(ConfigurationFault, match="cannot be pinned"):
        pin_vendor(DEFAULT_POLICY_TOML, name, key)


def test_a_vendor_is_pinned_once():
    once = pin_vendor(DEFAULT_POLICY_TOML, "acme", KEY)

    with pytest.raises(ConfigurationFault, match="same"):
        pin_vendor(once, "acme", KEY)


def test_a_setting_is_accounted_for_as_written():
    assert exact(0.2) * 5 == 1


def test_while_the_file_cannot_be_read_nothing_is_allowed(tmp_path):
    path = tmp_path / "policy.toml"
    live = LivePolicy(path)
    assert live() is REFUSE_ALL

    path.write_text("[questions]\nthreshold = 20\n")
    assert live().questions.threshold == 20

    path.write_text("[questions\n")
    assert live() is REFUSE_ALL
