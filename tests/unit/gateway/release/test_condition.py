import pytest

from gateway.release.condition import Condition, coarse
from gateway.release.rules import check_checkpoint
from protos.v1.link_pb2 import Checkpoint, CheckpointExchange


@pytest.mark.parametrize(
    ("backlog", "digits"), [(-1, 0), (0, 0), (1, 0), (4711, 0), (9999, 0), (10**4, 5), (10**6, 7)]
)
def test_only_a_backlog_of_many_patients_leaves_as_its_number_of_digits(backlog, digits):
    said = coarse(Condition(backlog, 1, 3, accepting=True, certificate_days=12.9))

    assert said.backlog_digits == digits
    assert said.disk_free_tenths == 3
    assert said.certificate_days == 12


def test_a_certificate_that_has_ended_and_a_disk_without_a_size_are_said():
    said = coarse(Condition(0, 0, 0, accepting=False, certificate_days=-3.0))

    assert (said.disk_free_tenths, said.accepting, said.certificate_days) == (0, False, 0)


def whole():
    own = Checkpoint(
        house="gateway/tongji", link=b"l" * 32, ledger_link=b"e" * 32, public_key=b"k" * 32,
        signature=b"s" * 64,
    )  # fmt: skip
    return CheckpointExchange(own=own, former_link=b"f" * 32, kept=own)


def test_a_checkpoint_of_the_right_sizes_passes_the_gate():
    assert check_checkpoint(whole()) is None


@pytest.mark.parametrize("which", ["own", "kept"])
@pytest.mark.parametrize(
    ("field", "value"),
    [("link", b"l" * 33), ("link", b""), ("signature", b"s" * 65), ("public_key", b""),
     ("ledger_link", b"free text"), ("house", "gateway/Featherstone^Quentin"), ("house", "x")],
)  # fmt: skip
def test_a_checkpoint_that_could_carry_anything_else_does_not(which, field, value):
    said = whole()
    setattr(getattr(said, which), field, value)

    assert check_checkpoint(said).code == "bad_checkpoint"


def test_a_former_link_is_a_link_or_nothing():
    said = whole()
    said.former_link = b"some text"
    assert check_checkpoint(said) is not None
    said.former_link = b""
    assert check_checkpoint(said) is None
