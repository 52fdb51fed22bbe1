from itertools import product

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp

from protos.checkpoint import FAULTS, TAKEN, Finding, is_signed, judge, sign_checkpoint
from protos.v1.link_pb2 import Checkpoint, CheckpointExchange

KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
HOUSE = "gateway/tongji"


def signed(number=5, link=b"5", key=KEY, **changes):
    fields = {
        "house": HOUSE,
        "number": number,
        "link": link * 32,
        "at": Timestamp(seconds=1_800_000_000),
        "ledger_link": b"l" * 32,
        "year": 2026,
        "spent_nano_rho": 7,
    }
    return sign_checkpoint(Checkpoint(**fields | changes), key)


def said(own, number=0, link=b""):
    return CheckpointExchange(own=own, former_number=number, former_link=link)


@pytest.mark.parametrize(
    ("changed", "value"),
    [("house", "gateway/wuhan"), ("number", 6), ("link", b"x" * 32), ("year", 2027),
     ("spent_nano_rho", 6), ("ledger_link", b"x" * 32), ("at", Timestamp(seconds=1))],
)  # fmt: skip
def test_every_field_is_under_the_signature(changed, value):
    checkpoint = signed()
    assert is_signed(checkpoint, HOUSE)

    if changed == "at":
        checkpoint.at.CopyFrom(value)
    else:
        setattr(checkpoint, changed, value)

    assert not is_signed(checkpoint, checkpoint.house)


def test_a_signature_of_another_kind_of_house_key_or_length_is_none():
    assert not is_signed(signed(), "coordinator/demo")
    assert not is_signed(signed(), HOUSE, OTHER.public_key().public_bytes_raw())
    assert not is_signed(signed(link=b""), HOUSE)
    assert not is_signed(signed(ledger_link=b"a text to be kept and sent back"), HOUSE)
    for key, signature in product((b"", b"k" * 31, b"k" * 32), (b"", b"s" * 64)):
        broken = signed()
        broken.public_key, broken.signature = key, signature
        assert not is_signed(broken, HOUSE)


@pytest.mark.parametrize(
    ("kept", "heard", "finding"),
    [
        (None, said(signed()), Finding.FIRST),
        (signed(), said(signed()), Finding.CONSISTENT),
        (signed(), said(signed(6, b"6"), 5, b"5" * 32), Finding.CONSISTENT),
        (signed(), said(signed(6, b"6"), 4, b"4" * 32), Finding.UNPROVEN),
        (signed(), said(signed(6, b"6")), Finding.UNPROVEN),
        (signed(), said(signed(6, b"6"), 5, b"x" * 32), Finding.REWRITTEN),
        (signed(), said(signed(6, b"6"), 5), Finding.REWRITTEN),
        (signed(), said(signed(4, b"4"), 4, b"4" * 32), Finding.REWOUND),
        (signed(), said(signed(5, b"x")), Finding.REWOUND),
        (signed(), said(signed(spent_nano_rho=6)), Finding.REWOUND),
        (signed(), said(signed(6, b"6", OTHER), 5, b"5" * 32), Finding.REKEYED),
        (signed(), said(signed(6, house="gateway/wuhan"), 5, b"5" * 32), Finding.FORGED),
        (None, said(Checkpoint()), Finding.FORGED),
        (None, CheckpointExchange(), Finding.FORGED),
    ],
)
def test_what_one_house_makes_of_the_other(kept, heard, finding):
    assert judge(kept, heard, HOUSE) is finding


def test_nothing_that_goes_back_is_ever_taken():
    assert not TAKEN & {Finding.REWOUND, Finding.FORGED, Finding.UNPROVEN}
    assert FAULTS | TAKEN | {Finding.UNPROVEN} == set(Finding)
