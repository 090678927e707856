"""RandAugment."""

import jax
import jax.numpy as jnp

from tcl_jax.augment.apply import apply_operations
from tcl_jax.augment.operations import (
    NAMES,
    Operation,
    magnitude_of,
    make_operation,
    signs_of,
    stack,
)

BINS = 31
OPERATIONS = tuple(name for name in NAMES if name != "Invert")


def rand_augment(key: jax.Array, image: jax.Array, *, count: int, magnitude: int) -> jax.Array:
    """Random operations of one magnitude in turn, as torchvision's RandAugment on PIL images (arXiv 1909.13719).

    Each of the `count` operations is any of the 14 in `OPERATIONS`, Identity among them, with equal chance; the
    magnitude of those in `SIGNED` is negative half of the time. Geometric operations take the nearest pixel and fill
    with black.

    Args:
      key: a random key; the same key gives the same view.
      image: uint8 [h, w, 1 or 3].
      count: of operations, 1 or more.
      magnitude: 0 ... 30.

    Returns:
      uint8 [h, w, 1 or 3].
    """
    return apply_operations(image, draw_operations(key, count, magnitude, image.shape[0], image.shape[1]))


def draw_operations(key: jax.Array, count: int, magnitude: int, height: int, width: int) -> Operation:
    """The operations for one image, with one leading axis: their order."""
    rows = []
    for name in OPERATIONS:
        amount = magnitude_of(name, magnitude, BINS, height, width)
        rows += [make_operation(name, sign * amount, height, width) for sign in signs_of(name)]
    table = stack(rows, (2 * len(OPERATIONS),))
    # float32 in 64-bit mode too, so that a key means one view everywhere.
    draws = jax.random.uniform(key, (count,), jnp.float32)
    numbers = jnp.floor(draws * (2 * len(OPERATIONS))).astype(jnp.int32)
    return Operation(*(jnp.asarray(array)[numbers] for array in table))
