"""Random changes of colour, in random order, and random grey."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from tcl_jax.augment.color import adjust_hue, blend, check_image, gray, mean_gray

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int32, PRNGKeyArray, UInt8

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
ORDERS = tuple(itertools.permutations(range(4)))
"""All orders of the four changes, each the changes in the order of their application."""


def random_color_jitter(
    key: PRNGKeyArray,
    image: UInt8[Array, "h w c"],
    *,
    probability: float = 0.8,
    strength: float = 0.4,
    hue: float = 0.1,
) -> UInt8[Array, "h w c"]:
    """Change brightness, contrast, saturation and hue at random and in random order, or leave the image as it is.

    With the given probability three factors are drawn uniformly from [1 - strength, 1 + strength], the shift of hue
    from [-hue, hue] and one of the 24 orders, as torchvision's RandomApply([ColorJitter(...)], p) on PIL images.
    Saturation and hue leave an image of one channel as it is.

    Args:
      key: a random key; the same key gives the same view.
      image: uint8 [h, w, 1 or 3].
      probability: of any change, 0 ... 1.
      strength: the greatest distance of a factor from 1, 0 ... 1.
      hue: the greatest shift of hue in turns of the colour wheel, 0 ... 0.5.

    Returns:
      uint8 [h, w, 1 or 3].
    """
    # float32 in 64-bit mode too, so that a key means one view everywhere.
    draws = jax.random.uniform(key, (6,), jnp.float32)
    factors = 1 + strength * (2 * draws[:3] - 1)
    shift = hue * (2 * draws[3] - 1)
    order = jnp.asarray(ORDERS, jnp.int32)[jnp.floor(draws[4] * len(ORDERS)).astype(jnp.int32)]
    jittered = color_jitter(image, factors, shift, order)
    return jnp.where(draws[5] < probability, jittered, image)


def color_jitter(
    image: UInt8[Array, "h w c"],
    factors: Float[Array, 3],
    shift: Float[Array, ""] | float,
    order: Int32[Array, 4],
) -> UInt8[Array, "h w c"]:
    """Brightness, contrast, saturation and hue changed in the given order: uint8 [h, w, 1 or 3] -> uint8 alike.

    Each change ends in uint8, as PIL's ImageEnhance.Brightness, Contrast and Color and `adjust_hue`.

    Args:
      image: uint8 [h, w, 1 or 3]; saturation and hue leave an image of one channel as it is.
      factors: float [3], of brightness, contrast and saturation.
      shift: scalar float, of hue.
      order: int32 [4], a row of `ORDERS`.

    Raises:
      ValueError: an image of another shape or dtype.
    """
    check_image("color_jitter", image)
    # Under vmap a branch is a selection, so that four rounds of any of four changes would cost sixteen. The changes
    # other than hue are blends, which differ in one image only, and a blend by factor 1 is exact: with three rounds
    # before hue and three after it, those on the wrong side by factor 1, hue is computed once and blends six times.
    place_of_hue = jnp.argmax(order == HUE)
    blends = order[jnp.nonzero(order != HUE, size=3)[0]]

    def round_of_blend(number: int, image: jax.Array, active: jax.Array) -> jax.Array:
        kind = blends[number]
        grays = gray(image)
        start = jnp.where(kind == CONTRAST, mean_gray(grays), jnp.where(kind == SATURATION, grays, 0))
        return blend(start.astype(jnp.uint8), image, jnp.where(active, factors[kind], 1))

    for number in range(3):
        image = round_of_blend(number, image, number < place_of_hue)
    if image.shape[-1] == 3:
        image = adjust_hue(image, shift)
    for number in range(3):
        image = round_of_blend(number, image, number >= place_of_hue)
    return image


def random_gray(
    key: PRNGKeyArray, image: UInt8[Array, "h w c"], *, probability: float = 0.2
) -> UInt8[Array, "h w c"]:
    """Three equal channels of PIL's L with the given probability: uint8 [h, w, 1 or 3] -> uint8 alike.

    As torchvision's RandomGrayscale on PIL images; an image of one channel is left as it is.
    """
    return jnp.where(jax.random.bernoulli(key, jnp.float32(probability)), gray(image), image)
