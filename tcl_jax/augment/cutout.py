"""A square of an image made black."""

import jax
import jax.numpy as jnp


def random_cutout(key: jax.Array, image: jax.Array, *, size: int) -> jax.Array:
    """`cutout` about a pixel of the image, each with equal chance (arXiv 1708.04552): [h, w, c] -> [h, w, c]."""
    h, w, _ = image.shape
    row, column = jax.random.randint(key, (2,), 0, jnp.asarray([h, w], jnp.int32), dtype=jnp.int32)
    return cutout(image, row, column, size=size)


def cutout(image: jax.Array, row: jax.Array, column: jax.Array, *, size: int) -> jax.Array:
    """Black rows row - size // 2 ... and columns column - size // 2 ..., `size` of each, as far as the image goes.

    Args:
      image: [h, w, c] of any dtype, uint8 as a rule.
      row, column: int32 scalars, 0 ... h - 1 and 0 ... w - 1.
      size: side of the square in pixels, 0 or more.

    Returns:
      [h, w, c] of the dtype of `image`.
    """
    h, w, _ = image.shape
    down = jnp.arange(h, dtype=jnp.int32)[:, None] - (row - size // 2)
    right = jnp.arange(w, dtype=jnp.int32)[None] - (column - size // 2)
    square = (down >= 0) & (down < size) & (right >= 0) & (right < size)
    return jnp.where(square[..., None], 0, image).astype(image.dtype)
