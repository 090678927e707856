"""Every operation at every magnitude, by the one program that applies any of them, against PIL."""

import functools

import jax
import numpy as np
import pytest

from tcl_jax.augment.autoaugment_ops import (
    NAMES,
    SIGNED,
    apply_operations,
    magnitude_of,
    make_operation,
    signs_of,
    stack,
)
from tests.augment import pil
from tests.marks import slow

BINS = {"autoaug": 10, "randaug": 31}
EXACT = ("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
EXACT += ("Posterize", "Solarize", "Equalize", "Invert")


def magnitudes(name, shape):
    """200 magnitudes with their signs: all of AutoAugment and RandAugment, over and over."""
    every = [magnitude_of(name, k, bins, *shape[:2]) for bins in BINS.values() for k in range(bins)]
    signed = [sign * magnitude for magnitude in every for sign in dict.fromkeys(signs_of(name))]
    return [signed[k % len(signed)] for k in range(200)]


APPLY = jax.jit(jax.vmap(apply_operations))


@pytest.mark.parametrize("shape", [pil.SHAPES[0], *slow(*((shape,) for shape in pil.SHAPES[1:]))])
def test_operations_are_pils_at_all_magnitudes(shape):
    batch = pil.images(shape)
    for name in NAMES:
        drawn = magnitudes(name, shape)
        operations = stack([make_operation(name, m, *shape[:2]) for m in drawn], (200, 1))
        results = np.asarray(APPLY(batch, operations))
        expected = pil.through_pil(lambda image, m, name=name: pil.apply(image, name, m), batch, drawn)
        if name in EXACT:
            np.testing.assert_array_equal(results, expected, err_msg=name)
        else:
            pil.within_one(results, expected)


def test_equalize_where_its_table_would_leave_eight_bits():
    batch = pil.images((16, 33, 1))  # 528 pixels: step 2, or 1 where the highest level has many
    batch[:100] = np.where(batch[:100] > 200, 255, batch[:100] // 2)
    operations = stack([make_operation("Equalize", 0, 16, 33)] * 200, (200, 1))
    expected = pil.through_pil(lambda image: pil.apply(image, "Equalize", 0), batch)
    np.testing.assert_array_equal(APPLY(batch, operations), expected)


def test_operations_follow_each_other_in_their_order():
    shape = (32, 32, 3)
    batch, random = pil.images(shape), np.random.default_rng(2)
    chosen = random.choice(EXACT, (200, 3))  # exact ones, so that a difference cannot grow
    drawn = [[(n, magnitude_of(n, random.integers(1, 10), 10, 32, 32)) for n in row] for row in chosen]
    operations = stack([make_operation(*pair, 32, 32) for row in drawn for pair in row], (200, 3))

    def in_turn(image, row):
        return functools.reduce(lambda image, pair: pil.apply(image, *pair), row, image)

    np.testing.assert_array_equal(APPLY(batch, operations), pil.through_pil(in_turn, batch, drawn))


def test_magnitudes_are_those_of_torchvision():
    expected = {
        "ShearX": [0, 0.3 / 9, 0.3],
        "ShearY": [0, 0.3 / 9, 0.3],
        "TranslateX": [0, 150 / 331 * 40 / 9, 150 / 331 * 40],
        "TranslateY": [0, 150 / 331 * 20 / 9, 150 / 331 * 20],
        "Rotate": [0, 30 / 9, 30],
        "Brightness": [0, 0.1, 0.9],
        "Color": [0, 0.1, 0.9],
        "Contrast": [0, 0.1, 0.9],
        "Sharpness": [0, 0.1, 0.9],
        "Posterize": [8, 8, 4],
        "Solarize": [255, 255 * 8 / 9, 0],
    }
    for name in NAMES:
        found = [magnitude_of(name, number, 10, 20, 40) for number in (0, 1, 9)]
        np.testing.assert_allclose(found, expected.get(name, [0, 0, 0]), rtol=1e-12, err_msg=name)
    bits = [magnitude_of("Posterize", number, 10, 32, 32) for number in range(10)]
    assert bits == [8, 8, 7, 7, 6, 6, 5, 5, 4, 4]
    assert set(SIGNED) == set(list(expected)[:9])
    assert all(signs_of(name) == ((1, -1) if name in SIGNED else (1, 1)) for name in NAMES)
