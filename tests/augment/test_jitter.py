"""Colour jitter and random grey: all orders against PIL, and the distribution of what is drawn."""

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageEnhance

from tcl_jax.augment import jitter
from tcl_jax.augment.color import gray
from tcl_jax.augment.jitter import ORDERS, random_color_jitter, random_gray

DRAWS = 4000
KEYS = jax.random.split(jax.random.key(0), DRAWS)


def pil_jitter(image, factors, shift, order):
    enhancers = ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color
    for change in order:
        if change < 3:
            image = enhancers[change](image).enhance(float(factors[change]))
        elif image.mode == "RGB":
            hue, saturation, value = image.convert("HSV").split()
            hue = Image.fromarray(((np.asarray(hue).astype(int) + int(shift * 255)) % 256).astype(np.uint8))
            image = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    return np.asarray(image)


def jitter_both(shape):
    """Each of the 24 orders with three random images, by ours and by PIL."""
    random = np.random.default_rng(0)
    orders = np.array(ORDERS * 3, np.int32)
    images = random.integers(0, 256, (72, *shape), np.uint8)
    factors = random.uniform(0.6, 1.4, (72, 3)).astype(np.float32)
    shifts = random.uniform(-0.1, 0.1, 72).astype(np.float32)
    ours = np.asarray(jax.jit(jax.vmap(jitter.color_jitter))(images, factors, shifts, orders))
    rows = zip(images, factors, shifts, orders, strict=True)
    pils = [pil_jitter(Image.fromarray(image.squeeze()), *row).reshape(shape) for image, *row in rows]
    assert ours.dtype == np.uint8
    return ours.astype(int), np.stack(pils).astype(int)


def test_every_order_is_pils():
    ours, pils = jitter_both((16, 20, 3))
    assert np.all(np.mean(np.abs(ours - pils) <= 1, axis=(1, 2, 3)) > 0.97)
    assert np.mean(np.abs(ours - pils) <= 1) > 0.99


def test_of_a_grey_image_brightness_and_contrast_change_in_order():
    ours, pils = jitter_both((16, 20, 1))
    assert np.abs(ours - pils).max() <= 1
    assert np.mean(ours != pils) < 1e-3


def test_factors_shift_order_and_application_are_drawn_as_stated(monkeypatch):
    def reveal(image, factors, shift, order):
        return jnp.concatenate([factors, shift[None], order.astype(jnp.float32)])

    monkeypatch.setattr(jitter, "color_jitter", reveal)
    draw = random_color_jitter.__wrapped__  # without the check of shapes: no images come out here
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: draw(key, jnp.full(8, -9.0))))(KEYS))
    applied = drawn[:, 0] != -9
    assert abs(applied.mean() - 0.8) < 5 * np.sqrt(0.8 * 0.2 / DRAWS)
    drawn = drawn[applied]
    for column, (low, high) in zip(drawn.T, [(0.6, 1.4)] * 3 + [(-0.1, 0.1)], strict=False):
        shares = (np.sort(column) - low) / (high - low)
        ranks = np.arange(1, len(column) + 1) / len(column)
        assert np.abs(shares - ranks).max() < 2.7 / np.sqrt(
            len(column)
        )  # Kolmogorov-Smirnov, one in a million
    found = [tuple(int(change) for change in row) for row in drawn[:, 4:]]
    numbers = np.array([ORDERS.index(order) for order in found])
    correlations = np.corrcoef(np.column_stack([drawn[:, :4], numbers]).T)
    assert np.abs(correlations - np.eye(5)).max() < 5 / np.sqrt(len(drawn))
    shares = np.array([found.count(order) for order in ORDERS]) / len(found)
    assert len(set(ORDERS)) == 24
    np.testing.assert_allclose(shares, 1 / 24, atol=5 * np.sqrt(1 / 24 / len(found)))


def test_one_in_five_is_grey():
    image = jnp.asarray(np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8))
    views = np.asarray(jax.jit(jax.vmap(lambda key: random_gray(key, image)))(KEYS))
    same = np.all(views == np.asarray(image), axis=(1, 2, 3))
    grays = np.all(views == np.asarray(gray(image)), axis=(1, 2, 3))
    assert np.all(same ^ grays)
    assert abs(grays.mean() - 0.2) < 5 * np.sqrt(0.2 * 0.8 / DRAWS)
