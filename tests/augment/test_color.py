"""Changes of colour against PIL."""

import jax
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from tcl_jax.augment import color


def images(shape):
    """60 images: noise, smooth, pale and saturated ones, a plain grey, black and white."""
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (60, *shape), np.uint8)
    h, w, _ = shape
    for number in range(10, 20):
        coarse = Image.fromarray(noise[number, :3, :3].squeeze())
        noise[number] = np.asarray(coarse.resize((w, h), Image.Resampling.BICUBIC)).reshape(shape)
    noise[20:30] = 120 + noise[20:30] // 10
    noise[30:40] = np.where(noise[30:40] > 127, 255, noise[30:40] // 4)
    noise[40:43] = np.array([0, 100, 255], np.uint8)[:, None, None, None]
    return noise


def through_pil(function, batch, factors):
    return np.stack(
        [
            np.asarray(function(Image.fromarray(image.squeeze()), float(factor))).reshape(image.shape)
            for image, factor in zip(batch, factors, strict=True)
        ]
    )


def pil_hue(image, shift):
    """torchvision's adjust_hue of a PIL image."""
    hue, saturation, value = image.convert("HSV").split()
    turned = (np.asarray(hue).astype(int) + int(shift * 255)) % 256
    hue = Image.fromarray(turned.astype(np.uint8))
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


ENHANCERS = {
    color.adjust_brightness: ImageEnhance.Brightness,
    color.adjust_contrast: ImageEnhance.Contrast,
    color.adjust_saturation: ImageEnhance.Color,
}


@pytest.mark.parametrize("shape", [(32, 32, 3), (17, 23, 3), (17, 23, 1)])
@pytest.mark.parametrize("adjust", ENHANCERS)
def test_blends_are_pils(adjust, shape):
    batch = images(shape)
    # float32 values, for PIL's blend is float32 arithmetic
    factors = np.random.default_rng(1).permutation(np.linspace(0.6, 1.4, 60)).astype(np.float32)
    factors[:3] = 0, 1, 2
    results = np.asarray(jax.jit(jax.vmap(adjust))(batch, factors))
    assert results.dtype == np.uint8
    expected = through_pil(lambda image, factor: ENHANCERS[adjust](image).enhance(factor), batch, factors)
    np.testing.assert_array_equal(results[:3], expected[:3])
    distance = np.abs(results.astype(int) - expected)
    assert distance.max() <= 1  # a fused multiply-add may end on the other side of a whole number
    assert np.mean(distance > 0) < 1e-3


@pytest.mark.parametrize("shape", [(32, 32, 3), (17, 23, 3)])
def test_hue_is_torchvisions_on_pil_images(shape):
    batch = images(shape)
    shifts = np.random.default_rng(1).permutation(np.linspace(-0.1, 0.1, 60)).astype(np.float32)
    shifts[:4] = -0.5, 0.5, 0, 0.25
    results = np.asarray(jax.jit(jax.vmap(color.adjust_hue))(batch, shifts))
    distance = np.abs(results.astype(int) - through_pil(pil_hue, batch, shifts))
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
    batch = images((17, 23, 3))
    grays = np.asarray(jax.jit(jax.vmap(color.gray))(batch))
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in batch])
    np.testing.assert_array_equal(grays[..., 0], expected)
    means = jax.jit(jax.vmap(color.mean_gray))(grays)
    np.testing.assert_array_equal(means, np.floor(expected.mean(axis=(1, 2)) + 0.5))
    half = np.array([[[4], [5]]], np.uint8)
    assert color.mean_gray(half) == 5


def test_an_image_of_one_channel_is_its_own_gray():
    batch = images((5, 6, 1))
    np.testing.assert_array_equal(color.gray(batch[0]), batch[0])
