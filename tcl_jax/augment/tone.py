"""Solarize, posterize, and what autocontrast and equalize are made of, as in PIL's ImageOps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Int32, Integer, UInt8


def solarize(image: UInt8[Array, "*shape"], threshold: Integer[Array, ""] | int) -> UInt8[Array, "*shape"]:
    """255 - v from the threshold upward: uint8 of any shape, whole number 0 ... 256 -> uint8 alike."""
    return jnp.where(image.astype(jnp.int32) < threshold, image, 255 - image)


def posterize(image: UInt8[Array, "*shape"], bits: Integer[Array, ""] | int) -> UInt8[Array, "*shape"]:
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


def equalize_table(counts: Int32[Array, 256]) -> UInt8[Array, 256]:
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


def histogram(plane: UInt8[Array, "h w"]) -> Int32[Array, 256]:
    """How many pixels have each grey level: uint8 [h, w] -> int32 [256]."""
    counts = jnp.zeros(256, jnp.int32)
    return counts.at[plane.reshape(-1).astype(jnp.int32)].add(1, mode="promise_in_bounds")


def apply_table(plane: UInt8[Array, "h w"], table: UInt8[Array, 256]) -> UInt8[Array, "h w"]:
    """Each grey level replaced by its entry, as PIL's Image.point: uint8 [h, w], uint8 [256] -> uint8 [h, w]."""
    return table.at[plane.astype(jnp.int32)].get(mode="promise_in_bounds")
