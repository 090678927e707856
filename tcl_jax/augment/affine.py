"""Affine maps of an image, and those that shear, shift and turn it."""

import math

import jax
import jax.numpy as jnp
import numpy as np

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def affine(image: jax.Array, coefficients: jax.Array | np.ndarray) -> jax.Array:
    """PIL's Image.transform(size, AFFINE, (a, b, c, d, e, f)), black where it looks outside the image.

    The new pixel with its centre at (x, y) shows the pixel of the old image in which (a x + b y + c, d x + e y + f)
    lies; pixel centres lie at half-integers.

    Args:
      image: uint8 [h, w, c], with h and w below 2^14.
      coefficients: int32 [6], from `fixed_point`.

    Returns:
      uint8 [h, w, c].
    """
    h, w, c = image.shape
    a, b, x, d, e, y = (coefficients[number] for number in range(6))
    rows, columns = jnp.arange(h, dtype=jnp.int32)[:, None], jnp.arange(w, dtype=jnp.int32)[None]
    x, y = x + a * columns + b * rows, y + d * columns + e * rows
    inside = (x >= 0) & (x < w << 16) & (y >= 0) & (y < h << 16)
    row, column = jnp.clip(y >> 16, 0, h - 1), jnp.clip(x >> 16, 0, w - 1)
    pixels = jnp.asarray(image).reshape(h * w, c).at[row * w + column].get(mode="promise_in_bounds")
    return jnp.where(inside[..., None], pixels, 0).astype(jnp.uint8)


def fixed_point(coefficients: tuple[float, ...] | np.ndarray) -> np.ndarray:
    """Six coefficients in units of 1/65536, rounded as PIL rounds them: float64 [..., 6] -> int32 [..., 6].

    The third and the sixth are those of the centre of the first pixel: c + (a + b) / 2 and f + (d + e) / 2. Whole
    numbers make one view of one key on every device. For the host: the rounding needs float64.
    """
    a, b, c, d, e, f = np.moveaxis(np.asarray(coefficients, np.float64), -1, 0)
    centred = np.stack([a, b, c + a * 0.5 + b * 0.5, d, e, f + d * 0.5 + e * 0.5], axis=-1)
    return np.floor(centred * 65536 + 0.5).astype(np.int32)


def shear_x(amount: float) -> tuple[float, ...]:
    """The map x + amount * y, from the upper left corner: AutoAugment's ShearX in torchvision."""
    return (1.0, amount, 0.0, 0.0, 1.0, 0.0)


def shear_y(amount: float) -> tuple[float, ...]:
    """The map y + amount * x, from the upper left corner: AutoAugment's ShearY in torchvision."""
    return (1.0, 0.0, 0.0, amount, 1.0, 0.0)


def translate(right: float, down: float) -> tuple[float, ...]:
    """The map that moves the image to the right and down, in pixels: torchvision's affine(translate)."""
    return (1.0, 0.0, -right, 0.0, 1.0, -down)


def rotate(degrees: float, height: int, width: int) -> tuple[float, ...]:
    """The map that turns an image of [height, width] counter-clockwise about its centre: PIL's Image.rotate."""
    angle = -math.radians(degrees % 360)
    cos, sin = round(math.cos(angle), 15), round(math.sin(angle), 15)
    x, y = width / 2, height / 2
    return (cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y)
