"""What goes once is found, and comes out as it was: over any content and from any byte on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos import tensors
from protos.repeats import BLOCK, LEAST, PIECE, Span, extend, outline, rest
from protos.tensors import TensorSpec

MIB = 1 << 20


def outlined(content):
    return outline(len(content), lambda at, size: content[at : at + size])


def copied(content, spans, path):
    """Write what goes, and repeat what repeats, as either house does."""
    with path.open("wb+", buffering=0) as file:
        for span in spans:
            if span.source is None:
                file.write(content[span.at : span.at + span.length])
            else:
                assert span.is_sound()
                extend(file, span)
    return path.read_bytes()


def goes(spans):
    return sum(span.length for span in spans if span.source is None)


def a_model():
    """Return a model of 10 MiB: zeros, a tied weight, a frozen constant, and 2 MiB of its own."""
    rng = np.random.default_rng(1)
    own = rng.normal(size=MIB // 8).astype(np.float32)  # 0.5 MiB
    parts = {
        "bias": np.zeros(3, np.float32),
        "embedding": np.concatenate([own, own + 1, own + 2]),
        "constant": np.full(MIB // 2, 0.1, np.float32),
        "unlike": rng.normal(size=MIB // 8).astype(np.float32),
        "zeros": np.zeros(MIB * 9 // 8, np.float32),
    } | {"tied": np.concatenate([own, own + 1, own + 2])}
    schema = {name: TensorSpec(dtype="F32", shape=each.shape) for name, each in parts.items()}
    return tensors.encode(parts, schema)


def test_a_model_of_which_most_repeats_goes_once(tmp_path):
    content = a_model()
    spans = outlined(content)

    assert len(content) > 9.9 * MIB
    assert goes(spans) < 2.2 * MIB
    assert len(spans) < 12  # equal blocks in a row are one repeat
    assert copied(content, spans, tmp_path / "a") == content
    held = (tmp_path / "a").stat().st_blocks * 512
    assert held < len(content) - 4 * MIB  # zeros are a hole


def test_tied_weights_are_found_wherever_they_begin():
    rng = np.random.default_rng(2)
    own = rng.normal(size=100_003)
    schema = {name: TensorSpec(dtype="F64", shape=(size,))
              for name, size in (("a", 100_003), ("b", 7), ("c", 100_003))}  # fmt: skip
    content = tensors.encode({"a": own, "b": np.ones(7), "c": own}, schema)

    spans = outlined(content)

    assert goes(spans) < own.nbytes + 1000


@given(
    st.lists(st.sampled_from([0, 1, 2, 3]), min_size=0, max_size=24),
    st.integers(0, 3 * BLOCK),
    st.integers(0, 24 * BLOCK),
)
def test_from_any_byte_on_it_comes_out_as_it_was(tmp_path_factory, blocks, tail, offset):
    rng = np.random.default_rng(3)
    kinds = [bytes(BLOCK), *(rng.bytes(BLOCK) for _ in range(3))]
    content = b"".join(kinds[kind] for kind in blocks) + rng.bytes(tail)
    spans = outlined(content)
    path = tmp_path_factory.mktemp("spans") / "part"

    assert sum(span.length for span in spans) == len(content)
    assert goes(spans) <= len(set(blocks)) * BLOCK + tail
    begun = [span for span in rest(spans, 0) if span.at < offset]
    cut = [Span(s.at, min(s.length, offset - s.at), s.source) for s in begun]
    assert copied(content, [*cut, *rest(spans, offset)], path) == content
    assert list(rest(spans, len(content))) == []


def test_a_long_stretch_of_one_period_is_repeated_by_pieces(tmp_path):
    period = np.random.default_rng(4).bytes(LEAST)
    content = period * (3 * PIECE // LEAST) + period[:100]
    spans = [Span(0, LEAST), Span(LEAST, len(content) - LEAST, 0)]

    assert copied(content, spans, tmp_path / "a") == content


@pytest.mark.parametrize(
    "span", [Span(8192, 1, 8192), Span(8192, 1, 4097), Span(8192, 0, 0), Span(8192, 1, -1)]
)
def test_what_was_not_there_cannot_be_repeated(span):
    assert not span.is_sound()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\xff" * 9, b"\x02" + bytes(7) + b"[]"])
def test_what_is_no_model_is_cut_as_it_lies(content):
    assert goes(outlined(content)) == len(content)
