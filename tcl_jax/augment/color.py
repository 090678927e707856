"""Blends, grey and hue, as PIL and torchvision define them on uint8 images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float, UInt8


def check_image(function: str, image: jax.Array, *, any_channels: bool = False) -> None:
    """Raises ValueError unless the image given to `function` is uint8 [h, w, c], with c 1 or 3 or any number."""
    fits = any_channels or image.shape[-1:] in [(1,), (3,)]
    if image.ndim != 3 or image.dtype != jnp.uint8 or not fits:
        raise ValueError(
            f"{function} expects a uint8 image [h, w, {'c' if any_channels else '1 or 3'}], got {image.dtype} "
            f"{list(image.shape)}."
        )


def blend(start: jax.Array, end: jax.Array, factor: jax.Array) -> jax.Array:
    """start + factor * (end - start), kept within 0 ... 255 and cut to a whole number, as PIL's Image.blend.

    PIL drops the fraction rather than rounding it, which darkens by half a grey level on average.

    Args:
      start, end: uint8, of shapes that broadcast.
      factor: scalar float; 0 gives `start`, 1 gives `end`, above 1 extrapolates.

    Returns:
      uint8 of the broadcast shape.
    """
    first = start.astype(jnp.float32)
    mixed = first + jnp.asarray(factor, jnp.float32) * (end.astype(jnp.float32) - first)
    return jnp.clip(mixed, 0, 255).astype(jnp.uint8)


def gray(image: UInt8[Array, "h w c"]) -> UInt8[Array, "h w 1"]:
    """PIL's L: (19595 R + 38470 G + 7471 B + 32768) / 65536, cut to a whole number: uint8 [h, w, c] -> uint8 [h, w, 1].

    An image of one channel is its own grey.

    Raises:
      ValueError: an image of another shape or dtype.
    """
    check_image("gray", image)
    if image.shape[-1] == 1:
        return image
    red, green, blue = (image[..., c : c + 1].astype(jnp.int32) for c in range(3))
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).astype(jnp.uint8)


def mean_gray(grays: UInt8[Array, "h w 1"]) -> UInt8[Array, ""]:
    """The mean of all pixels, rounded half up: uint8 [h, w, 1] -> uint8 [], for up to 2^22 pixels."""
    total = jnp.sum(grays, dtype=jnp.uint32)
    return ((2 * total + grays.size) // (2 * grays.size)).astype(jnp.uint8)


def adjust_hue(image: UInt8[Array, "h w 3"], shift: Float[Array, ""] | float) -> UInt8[Array, "h w 3"]:
    """Turn the colour wheel, as torchvision's adjust_hue on PIL images: uint8 [h, w, 3] -> uint8 [h, w, 3].

    The image goes to PIL's HSV of three uint8 channels, trunc(255 shift) is added to the hue modulo 256, and the image
    comes back. The conversions are done in whole numbers here and in floats by PIL, whose hue is one unit (of 255) less
    for 3 in 1,000 colours, where it falls just short of a whole number.

    Args:
      image: uint8 [h, w, 3].
      shift: scalar float, in turns of the wheel, -0.5 ... 0.5.
    """
    hue, saturation, value = _hsv(*(image[..., c].astype(jnp.int32) for c in range(3)))
    turn = jnp.trunc(jnp.asarray(shift, jnp.float32) * 255).astype(jnp.int32)
    return jnp.stack(_rgb((hue + turn) & 255, saturation, value), axis=-1).astype(jnp.uint8)


def _hsv(red: jax.Array, green: jax.Array, blue: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """PIL's HSV of three int32 planes of 0 ... 255, each 0 ... 255 too."""
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    sixths = jnp.where(  # of the wheel, times chroma: red at 0, green at 2, blue at 4
        red == value,
        green - blue,
        jnp.where(green == value, 2 * chroma + blue - red, 4 * chroma + red - green),
    )
    sixths = jnp.where(sixths < 0, sixths + 6 * chroma, sixths)
    # Where chroma is 0 both numerators are 0 as well, as PIL's hue and saturation of grey are.
    return _floor_divide(255 * sixths, 6 * chroma), _floor_divide(255 * chroma, value), value


def _floor_divide(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """floor(numerator / denominator) of int32 planes, for quotients up to 255 and denominators up to 1530; x / 0 is 0.

    Float32 division vectorises, which integer division does not. The half moves whole quotients off the edge of
    rounding: the result is then exact even where a device divides with an error of a few units in the last place.
    """
    quotient = (numerator.astype(jnp.float32) + 0.5) / jnp.maximum(denominator, 1).astype(jnp.float32)
    return quotient.astype(jnp.int32)


def _rgb(hue: jax.Array, saturation: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The int32 planes red, green and blue of PIL's HSV."""
    sector = (6 * hue).astype(jnp.uint32) // 255  # 0 ... 6, and 6 is 0 again
    rest = 6 * hue - 255 * sector.astype(jnp.int32)

    def part(numerator: jax.Array) -> jax.Array:
        """value * (1 - numerator / 255^2), rounded; the odd denominator has no halves."""
        total = (value * (255 * 255 - numerator)).astype(jnp.uint32)
        return ((2 * total + 255 * 255) // (2 * 255 * 255)).astype(jnp.int32)

    low = part(saturation * 255)
    falling = part(saturation * rest)
    rising = part(saturation * (255 - rest))

    def pick(*planes: jax.Array) -> jax.Array:
        """The plane of each pixel's sector."""
        result = planes[0]
        for number, plane in enumerate(planes[1:], start=1):
            result = jnp.where(sector == number, plane, result)
        return result

    return (
        pick(value, falling, low, low, rising, value),
        pick(rising, value, value, falling, low, low),
        pick(low, low, rising, value, value, falling),
    )
