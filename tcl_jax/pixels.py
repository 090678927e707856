"""From pixels to what a network takes."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def normalize(images: jax.Array | np.ndarray, *, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """(images / 255 - mean) / std by channel: uint8 [..., c] -> the default float dtype [..., c]."""
    dtype = jnp.result_type(float)
    return (jnp.asarray(images).astype(dtype) / 255 - jnp.asarray(mean, dtype)) / jnp.asarray(std, dtype)
