"""Sharpness and blur against PIL's filters, cutout against squares cut by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import ImageEnhance, ImageFilter

from tcl_jax.augment import filters
from tcl_jax.augment.cutout import cutout, random_cutout
from tests.augment import pil


@pytest.mark.parametrize("shape", pil.SHAPES)
def test_sharpness_is_pils(shape):
    batch = pil.images(shape)
    factors = np.linspace(0, 2, 200).astype(np.float32)
    results = np.asarray(jax.jit(jax.vmap(filters.adjust_sharpness))(batch, factors))
    expected = pil.through_pil(
        lambda image, factor: ImageEnhance.Sharpness(image).enhance(float(factor)), batch, factors
    )
    np.testing.assert_array_equal(results[0], expected[0])  # the smoothed image itself
    assert np.abs(results.astype(int) - expected).max() <= 1
    assert np.mean(results == expected) > 0.999


def test_smoothing_is_pils_at_small_sizes():
    for shape in [(1, 1, 3), (2, 5, 1), (5, 2, 3), (3, 3, 3), (3, 4, 1)]:
        batch = pil.images(shape)
        expected = pil.through_pil(lambda image: image.filter(ImageFilter.SMOOTH), batch)
        np.testing.assert_array_equal(jax.vmap(filters.smooth)(batch), expected)


@pytest.mark.parametrize(("shape", "size"), [((32, 32, 3), 5), ((17, 23, 3), 3), ((17, 23, 1), 5)])
def test_gaussian_blur_is_pils_kernel_on_the_mirrored_image(shape, size):
    batch = pil.images(shape)
    reach = size // 2
    sigmas = np.linspace(0.1, 2, 200)

    def blurred(image, sigma):
        line = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        kernel = np.outer(line, line) / line.sum() ** 2
        pixels = np.asarray(image)
        margins = [(reach, reach)] * 2 + [(0, 0)] * (pixels.ndim - 2)
        padded = pil.to_pil(np.atleast_3d(np.pad(pixels, margins, mode="reflect")))
        result = np.asarray(padded.filter(ImageFilter.Kernel((size, size), kernel.ravel(), scale=1)))
        return result[reach:-reach, reach:-reach]

    ours = jax.jit(jax.vmap(lambda image, sigma: filters.gaussian_blur(image, sigma, kernel_size=size)))
    results, expected = np.asarray(ours(batch, sigmas)), pil.through_pil(blurred, batch, sigmas)
    assert np.abs(results.astype(int) - expected).max() <= 1
    assert np.mean(results == expected) > 0.99
    np.testing.assert_array_equal(results[0], batch[0])  # sigma 0.1 leaves neighbours out


@pytest.mark.parametrize("size", [0, 4, 11, -1])
def test_blur_refuses_kernels_that_are_even_or_too_large(size):
    with pytest.raises(
        ValueError, match=f"odd kernel_size of 1 to 9 for an image of 5 x 8 pixels, got {size}"
    ):
        filters.gaussian_blur(np.zeros((5, 8, 1), np.uint8), 1.0, kernel_size=size)


@pytest.mark.parametrize("size", [0, 1, 4, 5, 40])
def test_cutout_is_a_square_about_its_pixel(size):
    image = np.random.default_rng(0).integers(1, 256, (9, 12, 3), np.uint8)
    for row in range(9):
        for column in range(12):
            expected = image.copy()
            top, left = row - size // 2, column - size // 2
            expected[max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = 0
            np.testing.assert_array_equal(cutout(image, row, column, size=size), expected)


def test_every_pixel_is_the_middle_of_a_random_cutout_equally_often():
    draws, places = 20_000, 35
    keys = jax.random.split(jax.random.key(0), draws)
    image = jnp.ones((5, 7, 1), jnp.uint8)
    views = np.asarray(jax.jit(jax.vmap(lambda key: random_cutout(key, image, size=1)))(keys))
    assert np.all(np.sum(views == 0, axis=(1, 2, 3)) == 1)
    shares = np.mean(views == 0, axis=0)
    np.testing.assert_allclose(shares, 1 / places, atol=5 * np.sqrt(1 / places / draws))
