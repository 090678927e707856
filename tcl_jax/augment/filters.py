"""Smoothing and Gaussian blur."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tcl_jax.augment.color import check_image

if TYPE_CHECKING:
    from jaxtyping import Array, Float, PRNGKeyArray, UInt8


def smooth(image: UInt8[Array, "h w c"]) -> UInt8[Array, "h w c"]:
    """PIL's filter SMOOTH: (5 p + its eight neighbours) / 13, rounded: uint8 [h, w, c] -> uint8 [h, w, c].

    The pixels of the border stay as they are, and so do images of less than three rows or columns.
    """
    h, w, _ = image.shape
    if min(h, w) < 3:
        return image
    padded = jnp.pad(image.astype(jnp.int32), ((1, 1), (1, 1), (0, 0)))
    total = 4 * padded[1:-1, 1:-1]
    for row in range(3):
        for column in range(3):
            total = total + padded[row : row + h, column : column + w]
    # An odd divisor has no ties, so that rounding needs no rule for them.
    mean = ((total + 6).astype(jnp.uint32) // 13).astype(jnp.uint8)
    rows, columns = jnp.arange(h)[:, None, None], jnp.arange(w)[:, None]
    inner = (rows > 0) & (rows < h - 1) & (columns > 0) & (columns < w - 1)
    # A choice rather than an update of a part, which XLA's CPU compiler does not fuse.
    return jnp.where(inner, mean, image)


def random_gaussian_blur(
    key: PRNGKeyArray,
    image: UInt8[Array, "h w c"],
    *,
    kernel_size: int,
    probability: float = 0.5,
    sigma: tuple[float, float] = (0.1, 2.0),
) -> UInt8[Array, "h w c"]:
    """`gaussian_blur` with the given probability, sigma drawn uniformly; the defaults are SimCLR's (arXiv 2002.05709).

    As torchvision's RandomApply([GaussianBlur(kernel_size, sigma)], probability). SimCLR takes a kernel of a tenth of
    the image's side.

    Args:
      key: a random key; the same key gives the same view.
      image: uint8 [h, w, c], with h and w above kernel_size // 2.
      kernel_size: odd number of pixels that count, by row and by column.
      probability: of a blur, 0 ... 1.
      sigma: the least and the greatest, above 0, in pixels.

    Returns:
      uint8 [h, w, c].

    Raises:
      ValueError: an image of another dtype, or a kernel_size that is even, below 1 or too large for the image.
    """
    # float32 in 64-bit mode too, so that a key means one view everywhere.
    draws = jax.random.uniform(key, (2,), jnp.float32)
    blurred = gaussian_blur(image, sigma[0] + (sigma[1] - sigma[0]) * draws[0], kernel_size=kernel_size)
    return jnp.where(draws[1] < probability, blurred, image)


def gaussian_blur(
    image: UInt8[Array, "h w c"], sigma: Float[Array, ""] | float, *, kernel_size: int
) -> UInt8[Array, "h w c"]:
    """Weighted means of neighbours, as torchvision's gaussian_blur: uint8 [h, w, c] -> uint8 [h, w, c].

    The weights are exp(-x^2 / (2 sigma^2)) for x = -k/2 ... k/2, divided by their sum, by rows and by columns. The
    image is continued by its mirror image, without repeating the border. The mean is rounded half to even.

    Args:
      image: uint8 [h, w, c], with h and w above kernel_size // 2.
      sigma: scalar float above 0, in pixels.
      kernel_size: odd number of pixels that count, by row and by column.

    Raises:
      ValueError: an image of another dtype, or a kernel_size that is even, below 1 or too large for the image.
    """
    check_image("gaussian_blur", image, any_channels=True)
    h, w, _ = image.shape
    if kernel_size < 1 or kernel_size % 2 == 0 or kernel_size // 2 >= min(h, w):
        raise ValueError(
            f"gaussian_blur expects an odd kernel_size of 1 to {2 * min(h, w) - 1} for an image of {h} x {w} pixels, "
            f"got {kernel_size}."
        )
    pixels = image.astype(jnp.float32)
    for spec, size in (("yi,ixc->yxc", h), ("xj,yjc->yxc", w)):
        matrix = _blur_matrix(sigma, kernel_size, size)
        pixels = jnp.einsum(spec, matrix, pixels, precision=lax.Precision.HIGHEST)
    return jnp.clip(jnp.round(pixels), 0, 255).astype(jnp.uint8)


def _blur_matrix(sigma: jax.Array | float, kernel_size: int, size: int) -> jax.Array:
    """The matrix float32 [size, size] that blurs a line of pixels."""
    reach = kernel_size // 2
    offsets = np.arange(-reach, reach + 1)
    weights = jnp.exp(-0.5 * (jnp.asarray(offsets, jnp.float32) / jnp.asarray(sigma, jnp.float32)) ** 2)
    weights = weights / jnp.sum(weights)
    place = np.abs(np.arange(size)[:, None] + offsets)  # mirrored at the first pixel
    place = np.where(place < size, place, 2 * (size - 1) - place)  # and at the last
    matrix = jnp.zeros((size, size), jnp.float32)
    for number in range(kernel_size):
        matrix = matrix + jnp.where(np.arange(size) == place[:, number : number + 1], weights[number], 0)
    return matrix
