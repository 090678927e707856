"""Augmentation policies by name."""

import functools
import re
from collections.abc import Callable

import jax

from tcl_jax.augment import autoaugment, randaugment
from tcl_jax.augment.checks import check_image
from tcl_jax.augment.crop_flip import crop_flip
from tcl_jax.augment.flip import random_flip
from tcl_jax.augment.resized_crop import random_resized_crop
from tcl_jax.augment.simaug import simaug
from tcl_jax.errors import UserError

Policy = Callable[[jax.Array, jax.Array], jax.Array]
"""(random key, image [h, w, c]) -> image of the same shape and dtype."""

POLICY_NAMES = ("none", "crop_flip", "simaug", "autoaug_cifar", "autoaug_imagenet", "randaug(n,m)")
"""The names `make_policy` knows; n and m stand for whole numbers."""

IMAGENET_AREA = (0.08, 1.0)
"""The shares of the area in crops for ImageNet: torchvision's default, and that of its training scripts."""


def make_policy(name: str, *, crop_padding: int, flip: bool) -> Policy:
    """The policy called `name`, for one image.

    - "none" leaves the image as it is.
    - "crop_flip" is a crop shifted by up to `crop_padding` pixels and, if `flip`, a mirror image half of the time.
    - "simaug" is a resized crop, a mirror image if `flip`, colour jitter and grey, as `simaug` says.
    - "autoaug_cifar" is crop_flip and then AutoAugment's policy for CIFAR-10.
    - "autoaug_imagenet" is a resized crop of 0.08 ... 1 of the area, a mirror image if `flip`, and then AutoAugment's
      policy for ImageNet.
    - "randaug(n,m)", as in "randaug(2,9)", is crop_flip and then n operations of RandAugment with magnitude m,
      0 ... 30.

    Policies with a resized crop have no use for `crop_padding`.

    Raises:
      UserError: an unknown name, numbers of randaug out of range, or a negative crop_padding.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> policy = make_policy("crop_flip", crop_padding=1, flip=False)
      >>> policy(jax.random.key(0), jnp.zeros((8, 8, 1), jnp.uint8)).shape
      (8, 8, 1)
    """
    if crop_padding < 0:
        raise UserError(f"augment.crop_padding is {crop_padding}, expected 0 or more pixels.")
    crop = functools.partial(crop_flip, padding=crop_padding, flip=flip)
    if name == "none":
        return lambda key, image: image
    if name == "crop_flip":
        return crop
    if name == "simaug":
        return functools.partial(simaug, flip=flip)
    if name == "autoaug_cifar":
        augment = functools.partial(autoaugment.auto_augment, sub_policies=autoaugment.CIFAR)
        return _chain(name, crop, augment)
    if name == "autoaug_imagenet":
        augment = functools.partial(autoaugment.auto_augment, sub_policies=autoaugment.IMAGENET)
        return _chain(name, functools.partial(_imagenet_crop, flip=flip), augment)
    if name.startswith("randaug"):
        count, magnitude = _numbers_of_randaug(name)
        augment = functools.partial(randaugment.rand_augment, count=count, magnitude=magnitude)
        return _chain(name, crop, augment)
    raise UserError(
        f"There is no augmentation policy {name!r} for augment.views, expected one of {', '.join(POLICY_NAMES)}."
    )


def _numbers_of_randaug(name: str) -> tuple[int, int]:
    match = re.fullmatch(r"randaug\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)", name)
    if match is None:
        raise UserError(
            f"augment.views names {name!r}, expected 'randaug(n,m)' with whole numbers, as in 'randaug(2,9)'."
        )
    count, magnitude = int(match[1]), int(match[2])
    if count < 1 or magnitude >= randaugment.BINS:
        raise UserError(
            f"augment.views names {name!r}, expected 1 operation or more and a magnitude of 0 to "
            f"{randaugment.BINS - 1}, as in 'randaug(2,9)'."
        )
    return count, magnitude


def _imagenet_crop(key: jax.Array, image: jax.Array, *, flip: bool) -> jax.Array:
    crop_key, flip_key = jax.random.split(key)
    image = random_resized_crop(crop_key, image, area=IMAGENET_AREA)
    return random_flip(flip_key, image) if flip else image


def _chain(name: str, first: Policy, second: Policy) -> Policy:
    """One policy after the other, for uint8 images of one or three channels."""

    def policy(key: jax.Array, image: jax.Array) -> jax.Array:
        check_image(name, image)
        first_key, second_key = jax.random.split(key)
        return second(second_key, first(first_key, image))

    return policy
