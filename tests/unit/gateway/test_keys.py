import os
import stat

import pytest

from gateway.errors import ConfigurationFault, IntegrityFault
from gateway.keys import Purpose, SiteSecret, new_recovery_code, read_private, write_private


def test_a_secret_is_readable_by_its_owner_alone(tmp_path):
    path = tmp_path / "keys" / "site.secret"

    made = SiteSecret.create(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SiteSecret.load(path).matches(made)


def test_a_secret_is_never_overwritten(tmp_path):
    SiteSecret.create(tmp_path / "site.secret")

    with pytest.raises(FileExistsError):
        SiteSecret.create(tmp_path / "site.secret")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_secret_others_can_read_is_refused_with_the_cure(tmp_path, mode):
    path = tmp_path / "site.secret"
    SiteSecret.create(path)
    path.chmod(mode)

    with pytest.raises(ConfigurationFault, match="chmod 600"):
        SiteSecret.load(path)


def test_a_key_behind_a_symbolic_link_is_refused(tmp_path):
    write_private(tmp_path / "real", b"x" * 32)
    (tmp_path / "link").symlink_to(tmp_path / "real")

    with pytest.raises(Exception, match="cannot be read"):
        read_private(tmp_path / "link")


def test_subkeys_differ_by_purpose_and_version_and_stay_the_same():
    secret = SiteSecret(bytes(range(32)))

    keys = {secret.subkey(purpose, version) for purpose in Purpose for version in (1, 2)}

    assert len(keys) == 2 * len(Purpose)
    assert secret.subkey(Purpose.SEAL) == SiteSecret(bytes(range(32))).subkey(Purpose.SEAL)


def test_the_recovery_code_alone_opens_the_escrow():
    secret = SiteSecret(os.urandom(32))
    code = new_recovery_code()
    escrow = secret.escrow(code)

    assert SiteSecret.recover(escrow, code.lower().replace("-", " ")).matches(secret)
    with pytest.raises(IntegrityFault, match="recovery code"):
        SiteSecret.recover(escrow, new_recovery_code())


def test_a_damaged_escrow_is_an_integrity_fault_not_a_crash():
    for damaged in ("", "{}", "[]", '{"salt": 1}', "not json"):
        with pytest.raises(IntegrityFault):
            SiteSecret.recover(damaged, "AAAA")


def test_the_secret_does_not_show_itself():
    assert "000102" not in repr(SiteSecret(bytes(range(32))))
