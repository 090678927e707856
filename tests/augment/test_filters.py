"""Smoothing and blur against PIL's filters."""

import jax
import numpy as np
import pytest
from PIL import ImageFilter

from tcl_jax.augment import filters
from tests.augment import pil


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


@pytest.mark.slow
def test_half_of_the_images_are_blurred_with_sigma_drawn_uniformly():
    draws = 4000
    image = np.zeros((3, 3, 1), np.uint8)
    image[1, 1] = 255

    def random_blur(key):
        return filters.random_gaussian_blur(key, image, kernel_size=3, sigma=(0.5, 1.5))

    keys = jax.random.split(jax.random.key(0), draws)
    middle = np.asarray(jax.jit(jax.vmap(random_blur))(keys))[:, 1, 1, 0]
    blurred = middle != 255
    assert abs(blurred.mean() - 0.5) < 5 * np.sqrt(0.25 / draws)
    # The middle is 255 / (1 + 2 exp(-1 / (2 sigma^2)))^2, which falls as sigma grows.
    sigmas = np.sort(np.sqrt(-0.5 / np.log((np.sqrt(255 / middle[blurred]) - 1) / 2)))
    ranks = np.arange(1, len(sigmas) + 1) / len(sigmas)
    assert (
        np.abs(sigmas - 0.5 - ranks).max() < 2.7 / np.sqrt(len(sigmas)) + 0.02
    )  # and the rounding to whole levels
    with jax.enable_x64(True):
        np.testing.assert_array_equal(jax.vmap(random_blur)(keys[:50])[:, 1, 1, 0], middle[:50])
