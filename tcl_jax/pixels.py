"""From pixels to what a network takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Real


def normalize(
    images: Real[Array | np.ndarray, "*shape"], *, mean: Sequence[float], std: Sequence[float]
) -> Float[Array, "*shape"]:
    """(images / 255 - mean) / std by channel: uint8 [..., c] -> the default float dtype [..., c]."""
    dtype = jnp.result_type(float)
    return (jnp.asarray(images).astype(dtype) / 255 - jnp.asarray(mean, dtype)) / jnp.asarray(std, dtype)
