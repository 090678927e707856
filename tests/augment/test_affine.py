"""Affine maps against PIL's transform with the same coefficients."""

import jax
import numpy as np
import pytest

from tcl_jax.augment import affine
from tests.augment import pil


def some_maps(h, w):
    """200 maps: those of the policies at all magnitudes, and any other."""
    random = np.random.default_rng(1)
    maps = [affine.IDENTITY]
    # Points that lie just on the border of pixels and of the image.
    maps += [affine.translate(x, y) for x, y in [(0.5, 0.5), (-0.5, -0.5), (-0.5, 0), (0, -0.5)]]
    maps += [(0.0, 1.0, 0.5, 1.0, 0.0, -0.5), (0.0, 1.0, -0.5, 1.0, 0.0, 0.5)]
    for share in np.linspace(-1, 1, 21):
        maps += [affine.shear_x(0.3 * share), affine.shear_y(0.3 * share)]
        maps += [affine.translate(round(0.5 * share * w), 0), affine.translate(0, round(0.5 * share * h))]
        maps += [affine.rotate(30 * share, h, w), affine.rotate(180 * share, h, w)]
    while len(maps) < 200:
        a, b, d, e = np.array([1, 0, 0, 1]) + random.uniform(-0.7, 0.7, 4)
        maps.append((a, b, random.uniform(-8, 8), d, e, random.uniform(-8, 8)))
    return np.array(maps)


@pytest.mark.parametrize("shape", pil.SHAPES)
def test_maps_are_pils(shape):
    batch, maps = pil.images(shape), some_maps(*shape[:2])
    results = jax.jit(jax.vmap(affine.affine))(batch, affine.fixed_point(maps))
    np.testing.assert_array_equal(results, pil.through_pil(pil.transform, batch, maps))
    np.testing.assert_array_equal(results[0], batch[0])


@pytest.mark.parametrize("shape", pil.SHAPES)
def test_rotation_is_pils_rotate(shape):
    batch = pil.images(shape)
    degrees = np.linspace(-200, 200, 200)
    maps = affine.fixed_point([affine.rotate(angle, *shape[:2]) for angle in degrees])
    results = jax.jit(jax.vmap(affine.affine))(batch, maps)
    expected = pil.through_pil(lambda image, angle: image.rotate(angle), batch, degrees)
    np.testing.assert_array_equal(results, expected)


def test_translations_and_shears_move_to_where_they_say():
    image = np.zeros((9, 9, 1), np.uint8)
    image[4, 3] = 200
    moved = affine.affine(image, affine.fixed_point(affine.translate(2, -1)))
    np.testing.assert_array_equal(np.argwhere(moved), [[3, 5, 0]])
    column = np.zeros((9, 9, 1), np.uint8)
    column[:, 4] = 200
    sheared = np.asarray(affine.affine(column, affine.fixed_point(affine.shear_x(0.25))))
    np.testing.assert_array_equal(np.argmax(sheared[..., 0], axis=1), [4, 4, 3, 3, 3, 3, 2, 2, 2])
    rows = np.asarray(affine.affine(np.swapaxes(column, 0, 1), affine.fixed_point(affine.shear_y(0.25))))
    np.testing.assert_array_equal(rows, np.swapaxes(sheared, 0, 1))
