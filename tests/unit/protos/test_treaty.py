import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.canonical import bundle_statement, canonical_bytes
from protos.digest import GENESIS, chain_link
from protos.identity import Identity, Invitation, Role
from protos.vocabulary import FIELDS, FieldKind

NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


@given(NAMES, st.sampled_from(Role), NAMES)
def test_an_identity_survives_its_uri(federation, role, name):
    identity = Identity(federation, role, name)

    assert Identity.parse(identity.uri) == identity


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe://",
        "spiffe://f/gateway",
        "spiffe://f/king/x",
        "https://f/gateway/x",
        "spiffe://f/gateway/x/y",
        "spiffe://f/gateway/X",
        "spiffe://f/gateway/../operator",
        "spiffe://f/gateway/x\n",
    ],
)
def test_what_is_not_an_identity_is_refused(uri):
    with pytest.raises(ValueError, match=r".+"):
        Identity.parse(uri)


@given(*[st.binary(max_size=400)] * 4)
def test_an_invitation_survives_copying_with_line_breaks(root, certificate, issuer, key):
    invitation = Invitation("tongji", "centre:443", root, certificate, issuer, key)
    token = invitation.encode()

    wrapped = "\n ".join(token[i : i + 60] for i in range(0, len(token), 60))

    assert Invitation.decode(wrapped) == invitation


@given(st.text(max_size=200))
def test_a_damaged_token_is_a_value_error_only(text):
    for token in (text, "radfed1." + text):
        with pytest.raises(ValueError, match=r".+"):
            Invitation.decode(token)


def test_canonical_bytes_do_not_depend_on_order_and_refuse_floats():
    assert canonical_bytes("x", {"b": 1, "a": ["é"]}) == canonical_bytes("x", {"a": ["é"], "b": 1})
    assert canonical_bytes("x", {}) != canonical_bytes("y", {})
    with pytest.raises(TypeError):
        canonical_bytes("x", {"a": [0.5]})


def test_a_vendor_signs_the_digest_in_the_open():
    name, _, body = bundle_statement(bytes(32)).partition(b"\n")

    assert name == b"radfed bundle v1"
    assert json.loads(body) == {"sha256": "00" * 32}


def test_a_chain_breaks_where_an_entry_changed():
    first = chain_link(GENESIS, b"one")

    assert chain_link(first, b"two") != chain_link(chain_link(GENESIS, b"One"), b"two")


def test_every_number_has_one_bin_more_than_edges():
    for field in FIELDS.values():
        if field.kind is FieldKind.NUMBER:
            assert len(field.bins) == len(field.edges) + 1
            assert sorted(field.edges) == list(field.edges)
        else:
            assert field.edges == ()
        assert len(set(field.bins)) == len(field.bins)
