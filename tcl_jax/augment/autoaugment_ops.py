"""The operations of AutoAugment and RandAugment, as numbers that one program applies."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tcl_jax.augment import tone
from tcl_jax.augment.affine import IDENTITY, affine, fixed_point, rotate, shear_x, shear_y, translate
from tcl_jax.augment.color import blend, check_image, gray, mean_gray
from tcl_jax.augment.filters import smooth

NAMES = (
    *("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate"),
    *("Brightness", "Color", "Contrast", "Sharpness", "Posterize", "Solarize"),
    *("AutoContrast", "Equalize", "Invert"),
)
"""The operations, by the names of the papers."""

Array = np.ndarray | jax.Array

GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
FACTORS = ("Brightness", "Color", "Contrast", "Sharpness")
SIGNED = GEOMETRIC + FACTORS
"""Operations whose magnitude is made negative half of the time."""


class Operation(NamedTuple):
    """Operations as numbers; every array has the same leading axes.

    Attributes:
      coefficients: int32 [..., 6], of the affine map.
      kind: int32 [...], the operation's place in `NAMES`; "Identity" for the geometric ones.
      factor: float32 [...], of the operations in `FACTORS`, otherwise 1.
      level: int32 [...], the bits of Posterize or the threshold of Solarize, otherwise 0.
    """

    coefficients: Array
    kind: Array
    factor: Array
    level: Array


def magnitude_of(name: str, number: int, bins: int, height: int, width: int) -> float:
    """The magnitude of an operation at one of `bins` equal steps 0 ... bins - 1, as in torchvision.

    ShearX, ShearY 0 ... 0.3; TranslateX, TranslateY 0 ... 150/331 of the width and height in pixels; Rotate 0 ... 30
    degrees; Brightness, Color, Contrast, Sharpness 0 ... 0.9 from the factor 1; Posterize 8 ... 4 bits; Solarize a
    threshold of 255 ... 0. The others have none: 0.
    """
    share = number / (bins - 1)
    if name == "Posterize":
        return 8 - round(4 * share)
    if name == "Solarize":
        return 255 * (1 - share)
    greatest = {"TranslateX": 150 / 331 * width, "TranslateY": 150 / 331 * height, "Rotate": 30.0}
    greatest |= dict.fromkeys(("ShearX", "ShearY"), 0.3) | dict.fromkeys(FACTORS, 0.9)
    return greatest.get(name, 0.0) * share


def make_operation(name: str, magnitude: float, height: int, width: int) -> Operation:
    """One operation for images of [height, width]; the meaning of its magnitude is that of `magnitude_of`, with a sign.

    A translation drops the fraction of a pixel, and to rotate is to turn counter-clockwise, as in torchvision.
    """
    coefficients: tuple[float, ...] = IDENTITY
    if name == "ShearX":
        coefficients = shear_x(magnitude)
    elif name == "ShearY":
        coefficients = shear_y(magnitude)
    elif name == "TranslateX":
        coefficients = translate(int(magnitude), 0)
    elif name == "TranslateY":
        coefficients = translate(0, int(magnitude))
    elif name == "Rotate":
        coefficients = rotate(magnitude, height, width)
    level = 0
    if name == "Posterize":
        level = int(magnitude)
    elif name == "Solarize":
        level = int(np.ceil(magnitude))  # whole levels below it are those below the magnitude
    return Operation(
        coefficients=fixed_point(coefficients),
        kind=np.asarray(0 if name in GEOMETRIC else NAMES.index(name), np.int32),
        factor=np.asarray(1 + magnitude if name in FACTORS else 1, np.float32),
        level=np.asarray(level, np.int32),
    )


def signs_of(name: str) -> tuple[int, int]:
    """The two signs of a magnitude that are equally likely."""
    return (1, -1) if name in SIGNED else (1, 1)


def stack(operations: list[Operation], shape: tuple[int, ...]) -> Operation:
    """Operations one after the other, as one with the leading axes `shape`."""
    arrays = [np.stack(column) for column in zip(*operations, strict=True)]
    return Operation(*(array.reshape(shape + array.shape[1:]) for array in arrays))


def apply_operations(image: jax.Array, operations: Operation) -> jax.Array:
    """The image after some operations, one after the other: uint8 [h, w, 1 or 3] -> uint8 alike.

    Under vmap a branch is a selection, so that a choice among fifteen functions would cost all of them. Here an image
    goes, for each operation, through one affine map, one blend with another image and one table of 256 entries for each
    channel, two of which do nothing.

    Args:
      image: uint8 [h, w, 1 or 3].
      operations: with one leading axis, their order.

    Raises:
      ValueError: an image of another shape or dtype.
    """
    check_image("apply_operations", image)

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
