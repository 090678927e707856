"""Random mirror images."""

import jax
import jax.numpy as jnp


def random_flip(key: jax.Array, image: jax.Array) -> jax.Array:
    """Mirror an image left to right half of the time: [h, w, c] of any dtype -> the same."""
    # The float32 probability fixes the width of the draw: 64-bit mode mirrors the same images.
    return jnp.where(jax.random.bernoulli(key, jnp.float32(0.5)), image[:, ::-1], image)
