"""Augmentation policies by name."""

import functools
from collections.abc import Callable

import jax

from tcl_jax.augment.crop_flip import crop_flip
from tcl_jax.augment.simaug import simaug
from tcl_jax.errors import UserError

Policy = Callable[[jax.Array, jax.Array], jax.Array]
"""(random key, image [h, w, c]) -> image of the same shape and dtype."""

POLICY_NAMES = ("none", "crop_flip", "simaug")


def make_policy(name: str, *, crop_padding: int, flip: bool) -> Policy:
    """The policy called `name`, for one image.

    "none" leaves the image as it is; "crop_flip" is a crop shifted by up to `crop_padding` pixels and, if `flip`, a
    mirror image half of the time; "simaug" is a resized crop, a mirror image if `flip`, colour jitter and grey, as
    `simaug` says, and has no use for `crop_padding`.

    Raises:
      UserError: an unknown name, or a negative crop_padding.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> policy = make_policy("crop_flip", crop_padding=1, flip=False)
      >>> policy(jax.random.key(0), jnp.zeros((8, 8, 1), jnp.uint8)).shape
      (8, 8, 1)
    """
    if crop_padding < 0:
        raise UserError(f"augment.crop_padding is {crop_padding}, expected 0 or more pixels.")
    if name == "none":
        return lambda key, image: image
    if name == "crop_flip":
        return functools.partial(crop_flip, padding=crop_padding, flip=flip)
    if name == "simaug":
        return functools.partial(simaug, flip=flip)
    raise UserError(
        f"There is no augmentation policy {name!r} for augment.views, expected one of {', '.join(POLICY_NAMES)}."
    )
