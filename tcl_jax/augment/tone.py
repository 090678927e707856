"""Solarize, posterize, and what autocontrast and equalize are made of, as in PIL's ImageOps."""

import jax
import jax.numpy as jnp


def solarize(image: jax.Array, threshold: jax.Array) -> jax.Array:
    """255 - v from the threshold upward: uint8 of any shape, whole number 0 ... 256 -> uint8 alike."""
    return jnp.where(image.astype(jnp.int32) < threshold, image, 255 - image)


def posterize(image: jax.Array, bits: jax.Array) -> jax.Array:
    """The highest of the eight bits of v: uint8 of any shape, 0 ... 8 bits -> uint8 alike."""
    return image & (0xFF00 >> jnp.asarray(bits, jnp.int32)).astype(jnp.uint8)


def stretch(image: jax.Array, lo: jax.Array, hi: jax.Array) -> jax.Array:
    """(v - lo) * 255 / (hi - lo), cut to a whole number within 0 ... 255; v where lo = hi.

    PIL computes in float64 and falls one short of some whole numbers.

    Args:
      image: uint8 of any shape.
      lo, hi: uint8 or int32 that broadcast with it.

    Returns:
      uint8 of the shape of `image`.
    """
    distance = hi.astype(jnp.int32) - lo
    # The half moves whole quotients off the edge of rounding, so that every device cuts alike.
    spread = (255 * (image.astype(jnp.int32) - lo) + 0.5) / jnp.maximum(distance, 1).astype(jnp.float32)
    return jnp.where(distance > 0, jnp.clip(spread, 0, 255).astype(jnp.uint8), image)


def equalize_table(counts: jax.Array) -> jax.Array:
    """The levels of a channel spread so that all are about equally frequent: int32 [256] -> uint8 [256].

    With step = (n - pixels of the highest level present) // 255 for a channel of n pixels,

        (step // 2 + pixels of levels below v) // step, at most 255

    A channel of one level, or with step 0, stays as it is.
    """
    below = jnp.cumsum(counts, dtype=jnp.int32) - counts
    # Of the levels present, the highest has the most pixels below it: all but its own.
    step = jnp.max(jnp.where(counts > 0, below, 0)) // 255
    spread = jnp.minimum((step // 2 + below) // jnp.maximum(step, 1), 255)
    return jnp.where(step > 0, spread, jnp.arange(256, dtype=jnp.int32)).astype(jnp.uint8)


def histogram(plane: jax.Array) -> jax.Array:
    """How many pixels have each grey level: uint8 [h, w] -> int32 [256]."""
    counts = jnp.zeros(256, jnp.int32)
    return counts.at[plane.reshape(-1).astype(jnp.int32)].add(1, mode="promise_in_bounds")


def apply_table(plane: jax.Array, table: jax.Array) -> jax.Array:
    """Each grey level replaced by its entry, as PIL's Image.point: uint8 [h, w], uint8 [256] -> uint8 [h, w]."""
    return table.at[plane.astype(jnp.int32)].get(mode="promise_in_bounds")
