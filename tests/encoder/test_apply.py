"""The encoder as a pure function: the same features as a call, for jax.jit, jax.grad and jax.vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tcl_jax.errors import UserError
from tests.encoder.test_image_files import encoder_of


@pytest.fixture(scope="module")
def encoder():
    return encoder_of(12, 10, 3)


def pixels(count):
    return np.random.default_rng(count).integers(0, 256, (count, 12, 10, 3)).astype(np.uint8)


def test_it_gives_the_features_of_a_call(encoder):
    features = encoder(pixels(6))
    assert set(encoder.variables) == {"params", "batch_stats"}
    np.testing.assert_allclose(jax.jit(encoder.apply)(encoder.variables, pixels(6)), features, rtol=1e-5)
    one_by_one = jax.vmap(encoder.apply, in_axes=(None, 0))(encoder.variables, pixels(6)[:, None])
    np.testing.assert_allclose(one_by_one[:, 0], features, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_it_can_be_differentiated_by_variables_and_by_images(encoder):
    def score(params, images):
        return encoder.apply({**encoder.variables, "params": params}, images).sum()

    params, images = encoder.variables["params"], pixels(3).astype(np.float32)
    gradients, by_images = jax.jit(jax.grad(score, argnums=(0, 1)))(params, images)
    direction = jax.tree.map(lambda x: np.random.default_rng(0).normal(size=x.shape).astype(x.dtype), params)
    change = sum(jax.tree.leaves(jax.tree.map(lambda g, d: (g * d).sum(), gradients, direction)))

    def moved(by):
        return score(jax.tree.map(lambda p, d: p + by * d, params, direction), images)

    np.testing.assert_allclose(change, (moved(1e-3) - moved(-1e-3)) / 2e-3, rtol=2e-2)
    assert by_images.shape == images.shape
    assert jnp.abs(by_images).max() > 0


def test_images_of_another_shape_are_refused_when_it_is_traced(encoder):
    with pytest.raises(UserError, match=r"shape \[2, 10, 12, 3\], expected \[n, 12, 10, 3\]"):
        jax.jit(encoder.apply)(encoder.variables, pixels(2).swapaxes(1, 2))
