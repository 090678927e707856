"""Operations applied to an image, whichever they are, by one program."""

import jax
import jax.numpy as jnp
from jax import lax

from tcl_jax.augment import tone
from tcl_jax.augment.affine import affine
from tcl_jax.augment.color import blend, gray, mean_gray
from tcl_jax.augment.filters import smooth
from tcl_jax.augment.operations import NAMES, Operation


def apply_operations(image: jax.Array, operations: Operation) -> jax.Array:
    """The image after some operations, one after the other: uint8 [h, w, 1 or 3] -> uint8 alike.

    Under vmap a branch is a selection, so that a choice among fifteen functions would cost all of them. Here an image
    goes, for each operation, through one affine map, one blend with another image and one table of 256 entries for each
    channel, two of which do nothing.

    Args:
      image: uint8 [h, w, 1 or 3].
      operations: with one leading axis, their order.
    """

    def one(planes: jax.Array, operation: Operation) -> tuple[jax.Array, None]:
        return _apply(planes, operation), None

    planes, _ = lax.scan(one, jnp.moveaxis(image, -1, 0), operations)
    return jnp.moveaxis(planes, 0, -1)


def _apply(planes: jax.Array, operation: Operation) -> jax.Array:
    """One operation on the channels of an image, uint8 [c, h, w]."""
    # The result of a loop is stored, so that these loops over channels are borders between parts of the program.
    # Without them XLA's CPU compiler works out the affine map anew for each of its uses and the table for each pixel,
    # which makes the whole several times slower.
    planes = lax.map(lambda plane: affine(plane[..., None], operation.coefficients)[..., 0], planes)
    grays = gray(jnp.moveaxis(planes, 0, -1))
    mean = mean_gray(grays)
    sharpness = operation.kind == NAMES.index("Sharpness")
    blends = sharpness | (operation.kind == NAMES.index("Color"))
    factor = jnp.where(blends, operation.factor, 1)

    def channel(plane: jax.Array) -> tuple[jax.Array, jax.Array]:
        plane = plane[..., None]
        other = jnp.where(sharpness, smooth(plane), grays)
        return blend(other, plane, factor)[..., 0], _table(plane[..., 0], mean, operation)

    blended, tables = lax.map(channel, planes)
    return jax.vmap(tone.apply_table)(blended, tables)


def _table(plane: jax.Array, mean: jax.Array, operation: Operation) -> jax.Array:
    """The table of the operation for one channel, uint8 [256]; that of no change for operations without one.

    Every step but the operation's own leaves the levels as they are.
    """

    def chosen(name: str) -> jax.Array:
        return operation.kind == NAMES.index(name)

    counts = tone.histogram(plane)
    numbers = jnp.arange(256, dtype=jnp.int32)
    lo = jnp.min(jnp.where(counts > 0, numbers, 255))
    hi = jnp.max(jnp.where(counts > 0, numbers, 0))

    levels = numbers.astype(jnp.uint8)
    start = jnp.where(chosen("Contrast"), mean, 0).astype(jnp.uint8)
    levels = blend(start, levels, jnp.where(chosen("Brightness") | chosen("Contrast"), operation.factor, 1))
    levels = jnp.where(chosen("AutoContrast"), tone.stretch(levels, lo, hi), levels)
    threshold = jnp.where(chosen("Solarize"), operation.level, jnp.where(chosen("Invert"), 0, 256))
    levels = tone.solarize(levels, threshold)
    levels = tone.posterize(levels, jnp.where(chosen("Posterize"), operation.level, 8))
    return jnp.where(chosen("Equalize"), tone.equalize_table(counts), levels)
