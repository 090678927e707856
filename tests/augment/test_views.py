"""A view depends on its key, its example and its number, and on nothing else."""

import jax
import jax.numpy as jnp
import numpy as np

from tcl_jax.augment import make_policy, make_views, normalize

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 6, 6, 3), np.uint8)
INDICES = np.arange(100, 112, dtype=np.int32)
CROP_FLIP = make_policy("crop_flip", crop_padding=2, flip=True)
KEY = jax.random.key(3)


def make(*policies):
    return jax.jit(make_views(policies, mean=MEAN, std=STD))


def test_normalize_is_the_textbook_formula():
    expected = (IMAGES / 255.0 - np.array(MEAN)) / np.array(STD)
    result = normalize(jnp.asarray(IMAGES), mean=MEAN, std=STD)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
    with jax.enable_x64(True):
        np.testing.assert_allclose(normalize(IMAGES, mean=MEAN, std=STD), expected, rtol=1e-14)


def test_views_are_stacked_view_by_view_and_differ():
    plain = make_policy("none", crop_padding=0, flip=False)
    views = np.asarray(make(plain, CROP_FLIP, CROP_FLIP)(KEY, IMAGES, INDICES))
    first, second, third = views.reshape(3, 12, 6, 6, 3)
    np.testing.assert_allclose(first, normalize(IMAGES, mean=MEAN, std=STD), rtol=1e-6, atol=1e-6)
    assert np.mean(np.all(second == third, axis=(1, 2, 3))) < 0.5


def test_a_view_does_not_depend_on_the_batch_around_it():
    views = np.asarray(make(CROP_FLIP, CROP_FLIP)(KEY, IMAGES, INDICES)).reshape(2, 12, 6, 6, 3)
    order = np.random.default_rng(1).permutation(12)[:5]
    part = np.asarray(make(CROP_FLIP, CROP_FLIP)(KEY, IMAGES[order], INDICES[order])).reshape(2, 5, 6, 6, 3)
    np.testing.assert_array_equal(part, views[:, order])


def test_another_key_or_example_number_gives_another_view():
    views = make(CROP_FLIP)
    base = np.asarray(views(KEY, IMAGES, INDICES))
    for other in (views(jax.random.key(4), IMAGES, INDICES), views(KEY, IMAGES, INDICES + 1)):
        same = np.mean(np.all(base == np.asarray(other), axis=(1, 2, 3)))
        assert same < 0.5
