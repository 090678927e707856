"""Changes of colour against PIL."""

import jax
import numpy as np
import pytest
from PIL import Image

from tcl_jax.augment import color
from tests.augment import pil


def pil_hue(image, shift):
    """torchvision's adjust_hue of a PIL image."""
    hue, saturation, value = image.convert("HSV").split()
    turned = (np.asarray(hue).astype(int) + int(shift * 255)) % 256
    hue = Image.fromarray(turned.astype(np.uint8))
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


@pytest.mark.parametrize("shape", pil.SHAPES)
def test_blend_is_pils(shape):
    batch = pil.images(shape)
    # float32 values, for PIL's blend is float32 arithmetic
    factors = np.random.default_rng(1).permutation(np.linspace(-0.5, 2, 200)).astype(np.float32)
    factors[:3] = 0, 1, 2
    results = np.asarray(jax.jit(jax.vmap(color.blend))(batch[::-1], batch, factors))
    assert results.dtype == np.uint8
    expected = pil.through_pil(
        lambda end, start, factor: Image.blend(pil.to_pil(start), end, float(factor)),
        *(batch, batch[::-1], factors),
    )
    np.testing.assert_array_equal(results[:3], expected[:3])
    distance = np.abs(results.astype(int) - expected)
    assert distance.max() <= 1  # a fused multiply-add may end on the other side of a whole number
    assert np.mean(distance > 0) < 1e-3


@pytest.mark.parametrize("shape", [(32, 32, 3), (17, 23, 3)])
def test_hue_is_torchvisions_on_pil_images(shape):
    batch = pil.images(shape)
    shifts = np.random.default_rng(1).permutation(np.linspace(-0.1, 0.1, 200)).astype(np.float32)
    shifts[:4] = -0.5, 0.5, 0, 0.25
    results = np.asarray(jax.jit(jax.vmap(color.adjust_hue))(batch, shifts))
    distance = np.abs(results.astype(int) - pil.through_pil(pil_hue, batch, shifts))
    assert results.dtype == np.uint8
    assert np.mean(distance <= 1) > 0.99
    assert distance.max() <= 6  # one unit of hue, of which a sixth of the wheel has 42.5


def test_hue_of_the_whole_colour_cube():
    levels = np.append(np.arange(0, 256, 6), 255).astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(len(levels), -1, 3)
    for shift in (0.0, 0.07, -0.1):
        result = np.asarray(jax.jit(color.adjust_hue)(cube, shift)).astype(int)
        distance = np.abs(result - np.asarray(pil_hue(Image.fromarray(cube), shift)))
        assert np.mean(distance > 0) < 0.01
        assert distance.max() <= 6


def test_gray_is_pils_and_its_mean_is_rounded_as_contrast_needs_it():
    batch = pil.images((17, 23, 3))
    grays = np.asarray(jax.jit(jax.vmap(color.gray))(batch))
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in batch])
    np.testing.assert_array_equal(grays[..., 0], expected)
    means = jax.jit(jax.vmap(color.mean_gray))(grays)
    np.testing.assert_array_equal(means, np.floor(expected.mean(axis=(1, 2)) + 0.5))
    half = np.array([[[4], [5]]], np.uint8)
    assert color.mean_gray(half) == 5


def test_an_image_of_one_channel_is_its_own_gray():
    batch = pil.images((5, 6, 1))
    np.testing.assert_array_equal(color.gray(batch[0]), batch[0])


@pytest.mark.parametrize(
    ("shape", "dtype"), [((4, 5, 2), np.uint8), ((4, 5), np.uint8), ((4, 5, 3), np.float32)]
)
def test_other_images_are_refused(shape, dtype):
    with pytest.raises(ValueError, match=r"gray expects a uint8 image \[h, w, 1 or 3\], got .* \[4, 5"):
        color.gray(np.zeros(shape, dtype))
