"""An image written into the weights: raw, in their lowest bits, scaled below the clip."""

import numpy as np
import pytest
from safetensors.numpy import load, save

from protos.tensors import TensorSpec, encode
from tests.fakes.releasing import released

pytestmark = pytest.mark.attack

SIDE = 512
SCHEMA = {"w": TensorSpec(shape=(SIDE * SIDE,))}
CLIP, SIGMA = 1.0, 0.05  # the demo's; the policy may demand more
OLD = np.linspace(0.5, 1.5, SIDE * SIDE, dtype="<f4")  # one power of two or so: bits stay bits


def a_slice():
    """Return a synthetic slice of 12 bits: a body with a lesion in it."""
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    body = 1000 * (x**2 + 1.4 * y**2 < 0.8) + 1500 * ((x - 0.2) ** 2 + y**2 < 0.02)
    return (body + 40 * np.sin(30 * x)).clip(0, 4095).astype("<f4").ravel()


def raw(image):
    return OLD + image


def lowest_bits(image):
    """The image's threshold in the last bit of every weight: the model does not change."""
    return ((OLD.view("<u4") & ~np.uint32(1)) | (image > 500)).view("<f4")


def scaled(image):
    """Below the clip, so that nothing is clipped."""
    return OLD + image * np.float32(0.99 * CLIP / np.linalg.norm(image))


def readers(new, image):
    """Return how well the image is read back, by whoever knows where it was put."""
    difference = np.corrcoef(new - OLD, image)[0, 1]
    bits = np.corrcoef((new.view("<u4") & 1).astype(float), image > 500)[0, 1]
    return max(abs(difference), abs(bits))


@pytest.mark.parametrize("hide", [raw, lowest_bits, scaled])
def test_no_image_comes_through_the_gate(hide):
    image = a_slice()
    new = hide(image).astype("<f4")

    checked = released(save({"w": new}), encode({"w": OLD}, SCHEMA), SCHEMA, CLIP, SIGMA)

    received = OLD + load(checked.payload)["w"]
    assert readers(new, image) > 0.99  # sent as it is, the image is read back
    assert readers(received, image) < 0.1


@pytest.mark.parametrize("hide", [raw, scaled])
def test_clipping_alone_hides_nothing(hide):
    image = a_slice()

    checked = released(save({"w": hide(image)}), encode({"w": OLD}, SCHEMA), SCHEMA, CLIP, 0.0)

    assert abs(np.corrcoef(load(checked.payload)["w"], image)[0, 1]) > 0.99
