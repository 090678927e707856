"""Windows of an image, shifted or resized; its mirror image; and a square cut out of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax import lax

from tcl_jax.augment.color import check_image

if TYPE_CHECKING:
    from jaxtyping import Array, Int32, PRNGKeyArray, Shaped, UInt8

TRIES = 10


def random_crop(key: PRNGKeyArray, image: Shaped[Array, "h w c"], *, padding: int) -> Shaped[Array, "h w c"]:
    """Pad with black and cut out a random window of the old size, as torchvision's RandomCrop(size, padding).

    Each of the (2 padding + 1)^2 windows is equally likely.

    Args:
      key: a random key; the same key gives the same view.
      image: [h, w, c] of any dtype.
      padding: pixels added on each side, 0 or more; 0 leaves the image where it is.

    Returns:
      [h, w, c] of the dtype of `image`.
    """
    padded = jnp.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    top, left = jax.random.randint(key, (2,), 0, 2 * padding + 1, dtype=jnp.int32)
    return lax.dynamic_slice(padded, (top, left, jnp.int32(0)), image.shape)


def random_flip(key: PRNGKeyArray, image: Shaped[Array, "h w c"]) -> Shaped[Array, "h w c"]:
    """Mirror an image left to right half of the time: [h, w, c] of any dtype -> the same."""
    # The float32 probability fixes the width of the draw: 64-bit mode mirrors the same images.
    return jnp.where(jax.random.bernoulli(key, jnp.float32(0.5)), image[:, ::-1], image)


def random_resized_crop(
    key: PRNGKeyArray,
    image: UInt8[Array, "h w c"],
    *,
    area: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> UInt8[Array, "h w c"]:
    """Cut out a window of random area, shape and place, and resize it to the size of the image.

    The window is that of `random_window`, the resizing that of `resized_crop`; together they are torchvision's
    RandomResizedCrop on PIL images, with the image's own size as the size of the result.

    Args:
      key: a random key; the same key gives the same view.
      image: uint8 [h, w, c].
      area: the least and the greatest share of the image's area, in (0, 1].
      ratio: the least and the greatest width / height of the window, above 0.

    Returns:
      uint8 [h, w, c].

    Raises:
      ValueError: an image of another dtype.
    """
    check_image("random_resized_crop", image, any_channels=True)
    top, left, height, width = random_window(key, image.shape[0], image.shape[1], area=area, ratio=ratio)
    return resized_crop(image, top, left, height, width)


def random_window(
    key: PRNGKeyArray, height: int, width: int, *, area: tuple[float, float], ratio: tuple[float, float]
) -> tuple[Int32[Array, ""], Int32[Array, ""], Int32[Array, ""], Int32[Array, ""]]:
    """Top, left, height and width of a random window within [height, width], by torchvision's RandomResizedCrop.

    Up to ten times, a share a of the area is drawn uniformly and an aspect ratio r log-uniformly, which give

        w = round(sqrt(a * height * width * r)),   h = round(sqrt(a * height * width / r));

    the first window that fits is taken, at any of its places with equal chance. Where none fits it is the largest
    window in the middle of the image whose aspect ratio lies within `ratio`.

    Returns:
      four int32 scalars.
    """
    # float32 throughout, in 64-bit mode too, so that a key means one window everywhere.
    draws = jax.random.uniform(key, (2 * TRIES + 2,), jnp.float32)
    areas = (area[0] + (area[1] - area[0]) * draws[:TRIES]) * (height * width)
    least, greatest = math.log(ratio[0]), math.log(ratio[1])
    ratios = jnp.exp(least + (greatest - least) * draws[TRIES : 2 * TRIES])
    widths = jnp.round(jnp.sqrt(areas * ratios)).astype(jnp.int32)
    heights = jnp.round(jnp.sqrt(areas / ratios)).astype(jnp.int32)
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first, found = jnp.argmax(fits), jnp.any(fits)

    middle_height, middle_width = _largest_window(height, width, ratio)
    h = jnp.where(found, heights[first], middle_height)
    w = jnp.where(found, widths[first], middle_width)
    top = jnp.where(found, _choose(draws[-2], height - h + 1), (height - middle_height) // 2)
    left = jnp.where(found, _choose(draws[-1], width - w + 1), (width - middle_width) // 2)
    return top, left, h, w


def _choose(draw: jax.Array, count: jax.Array) -> jax.Array:
    """One of 0 ... count - 1, from a draw in [0, 1), whose greatest float32 gives count - 1 and not count."""
    return jnp.floor(draw * count).astype(jnp.int32)


def _largest_window(height: int, width: int, ratio: tuple[float, float]) -> tuple[int, int]:
    """Height and width of the largest window whose aspect ratio lies within `ratio`."""
    if width / height < ratio[0]:
        return round(width / ratio[0]), width
    if width / height > ratio[1]:
        return height, round(height * ratio[1])
    return height, width


def resized_crop(
    image: UInt8[Array, "h w c"],
    top: Int32[Array, ""] | int,
    left: Int32[Array, ""] | int,
    height: Int32[Array, ""] | int,
    width: Int32[Array, ""] | int,
) -> UInt8[Array, "h w c"]:
    """Resize a window of an image to the size of the image, bilinearly: uint8 [h, w, c] -> uint8 [h, w, c].

    Pixel centres lie at half-integers and the window's own border is repeated outward, as in PIL's resize with
    BILINEAR. A window is never larger than the image, so it is never shrunk, and enlarging is the case in which
    PIL's antialiasing does nothing. As in PIL columns come first, and each of the two passes rounds half up to uint8.

    Args:
      image: uint8 [h, w, c].
      top, left, height, width: int32 scalars, traced or not; 1 <= height <= h - top, 1 <= width <= w - left.
    """
    h, w, _ = image.shape
    pixels = image.astype(jnp.float32)
    pixels = _divide_rounding(_matmul("xj,hjc->hxc", _taps(left, width, w), pixels), 2 * w)
    pixels = _divide_rounding(_matmul("yi,ixc->yxc", _taps(top, height, h), pixels), 2 * h)
    return pixels.astype(jnp.uint8)


def _taps(start: jax.Array | int, length: jax.Array | int, size: int) -> jax.Array:
    """The matrix [size, size] that enlarges pixels start ... start + length - 1 to `size` of them, times 2 size.

    Its entries are whole numbers, so sums of products with uint8 pixels are exact in float32 on every device.
    """
    twice = 2 * size
    # Centre of each new pixel among the old ones, in units of 1 / twice.
    position = (2 * jnp.arange(size, dtype=jnp.int32) + 1) * length - size
    low = position // twice
    share = position - low * twice
    last = length - 1
    low, high = start + jnp.clip(low, 0, last), start + jnp.clip(low + 1, 0, last)
    source = jnp.arange(size, dtype=jnp.int32)
    taps = jnp.where(source == low[:, None], twice - share[:, None], 0)
    return (taps + jnp.where(source == high[:, None], share[:, None], 0)).astype(jnp.float32)


def _matmul(spec: str, matrix: jax.Array, pixels: jax.Array) -> jax.Array:
    return jnp.einsum(spec, matrix, pixels, precision=lax.Precision.HIGHEST)


def _divide_rounding(total: jax.Array, count: int) -> jax.Array:
    """total / count, rounded half up, for whole numbers total >= 0 and an even count: float32 -> float32."""
    # Integer division: a float quotient just below a half could round differently from device to device.
    return ((total.astype(jnp.uint32) + count // 2) // count).astype(jnp.float32)


def random_cutout(key: PRNGKeyArray, image: Shaped[Array, "h w c"], *, size: int) -> Shaped[Array, "h w c"]:
    """`cutout` about a pixel of the image, each with equal chance (arXiv 1708.04552): [h, w, c] -> [h, w, c]."""
    h, w, _ = image.shape
    row, column = jax.random.randint(key, (2,), 0, jnp.asarray([h, w], jnp.int32), dtype=jnp.int32)
    return cutout(image, row, column, size=size)


def cutout(
    image: Shaped[Array, "h w c"], row: Int32[Array, ""] | int, column: Int32[Array, ""] | int, *, size: int
) -> Shaped[Array, "h w c"]:
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
