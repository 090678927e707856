"""The augmentation of small images: a shifted crop and a mirror image."""

import jax
import jax.numpy as jnp
from jax import lax

from tcl_jax.augment.flip import random_flip


def crop_flip(key: jax.Array, image: jax.Array, *, padding: int, flip: bool) -> jax.Array:
    """Pad with black, cut out a random window of the old size, and mirror it left to right half of the time.

    Each of the (2 padding + 1)^2 windows is equally likely, as with torchvision's RandomCrop(size, padding).

    Args:
      key: a random key; the same key gives the same view.
      image: [h, w, c] of any dtype, uint8 as a rule.
      padding: pixels added on each side, 0 or more; 0 leaves the image where it is.
      flip: False never mirrors (digits and letters change their meaning).

    Returns:
      [h, w, c] of the dtype of `image`.
    """
    crop_key, flip_key = jax.random.split(key)
    padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    top, left = jax.random.randint(crop_key, (2,), 0, 2 * padding + 1, dtype=jnp.int32)
    window = lax.dynamic_slice(padded, (top, left, jnp.int32(0)), image.shape)
    return random_flip(flip_key, window) if flip else window
