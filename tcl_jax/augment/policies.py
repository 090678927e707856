"""Augmentation policies by name: those known here, and users' own."""

from __future__ import annotations

import functools
import pathlib
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from tcl_jax.augment.autoaugment import CIFAR, IMAGENET, RAND_BINS, auto_augment, rand_augment
from tcl_jax.augment.crops import random_crop, random_flip, random_resized_crop
from tcl_jax.augment.jitter import random_color_jitter, random_gray
from tcl_jax.errors import UserError, in_short
from tcl_jax.resolve import arguments_of, is_own, resolve

if TYPE_CHECKING:
    from jaxtyping import Array, PRNGKeyArray, Shaped, UInt8

Policy = Callable[[jax.Array, jax.Array], jax.Array]
"""(random key, uint8 image [h, w, c]) -> uint8 image of the same shape.

The known policies but none and crop_flip expect one channel or three, and raise ValueError for other images.
"""


def none(key: PRNGKeyArray, image: Shaped[Array, "h w c"]) -> Shaped[Array, "h w c"]:
    """The image as it is."""
    return image


def crop_flip(
    key: PRNGKeyArray, image: Shaped[Array, "h w c"], *, crop_padding: int, flip: bool
) -> Shaped[Array, "h w c"]:
    """A crop shifted by up to `crop_padding` pixels and, if `flip`, a mirror image half of the time."""
    crop_key, flip_key = jax.random.split(key)
    image = random_crop(crop_key, image, padding=crop_padding)
    return random_flip(flip_key, image) if flip else image


def simaug(key: PRNGKeyArray, image: UInt8[Array, "h w c"], *, flip: bool) -> UInt8[Array, "h w c"]:
    """The augmentation of SimCLR (arXiv 2002.05709) as SupCon (arXiv 2004.11362) sets it for CIFAR.

    In this order: a window of 0.2 ... 1 of the area with aspect ratio 3/4 ... 4/3, resized to the old size; if `flip`,
    a mirror image half of the time; with probability 0.8 brightness, contrast and saturation by factors of 0.6 ... 1.4
    and hue by up to 0.1 of a turn, in random order; with probability 0.2 grey. Of an image of one channel only
    brightness and contrast change.
    """
    crop_key, flip_key, jitter_key, gray_key = jax.random.split(key, 4)
    image = random_resized_crop(crop_key, image)
    if flip:
        image = random_flip(flip_key, image)
    return random_gray(gray_key, random_color_jitter(jitter_key, image))


def autoaug_cifar(
    key: PRNGKeyArray, image: UInt8[Array, "h w c"], *, crop_padding: int, flip: bool
) -> UInt8[Array, "h w c"]:
    """`crop_flip` and then AutoAugment's policy for CIFAR-10."""
    crop_key, key = jax.random.split(key)
    image = crop_flip(crop_key, image, crop_padding=crop_padding, flip=flip)
    return auto_augment(key, image, sub_policies=CIFAR)


def autoaug_imagenet(key: PRNGKeyArray, image: UInt8[Array, "h w c"], *, flip: bool) -> UInt8[Array, "h w c"]:
    """A resized crop of 0.08 ... 1 of the area, a mirror image if `flip`, then AutoAugment's policy for ImageNet."""
    crop_key, key = jax.random.split(key)
    crop_key, flip_key = jax.random.split(crop_key)
    image = random_resized_crop(crop_key, image, area=(0.08, 1.0))  # as torchvision's training scripts
    if flip:
        image = random_flip(flip_key, image)
    return auto_augment(key, image, sub_policies=IMAGENET)


def randaug(
    key: PRNGKeyArray,
    image: UInt8[Array, "h w c"],
    *,
    count: int,
    magnitude: int,
    crop_padding: int,
    flip: bool,
) -> UInt8[Array, "h w c"]:
    """`crop_flip` and then `count` operations of RandAugment with a magnitude of 0 ... 30."""
    crop_key, key = jax.random.split(key)
    image = crop_flip(crop_key, image, crop_padding=crop_padding, flip=flip)
    return rand_augment(key, image, count=count, magnitude=magnitude)


POLICIES: Mapping[str, Callable[..., jax.Array]] = {
    "none": none,
    "crop_flip": crop_flip,
    "simaug": simaug,
    "autoaug_cifar": autoaug_cifar,
    "autoaug_imagenet": autoaug_imagenet,
    "randaug(n,m)": randaug,
}
"""The known policies: (key, image, *, those of crop_padding and flip that it names) -> image. n and m are numbers."""


def make_policy(name: str, *, crop_padding: int, flip: bool) -> Policy:
    """The policy called `name`, for one image.

    A name is one of `POLICIES`, with numbers for n and m as in "randaug(2,9)", or "module:attribute" of your own: a
    function (key, image) -> image. Policies that name `crop_padding` or `flip` as parameters are given them, your own
    too.

    Raises:
      UserError: an unknown name, numbers of randaug out of range, a negative crop_padding, or a part of your own that
        is not a function of key and image.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> policy = make_policy("crop_flip", crop_padding=1, flip=False)
      >>> policy(jax.random.key(0), jnp.zeros((8, 8, 1), jnp.uint8)).shape
      (8, 8, 1)
    """
    if crop_padding < 0:
        raise UserError(f"augment.crop_padding is {crop_padding}, expected 0 or more pixels.")
    field = "augment.views"
    if re.fullmatch(r"randaug(\(.*\))?", name):
        count, magnitude = _numbers_of_randaug(name)
        part: Any = functools.partial(randaug, count=count, magnitude=magnitude)
    else:
        part = resolve(name, POLICIES, field=field, example="my_augment.py with def policy(key, image): ...")
    settings = {"crop_padding": crop_padding, "flip": flip}
    return functools.partial(part, **arguments_of(part, settings, field=field, positional=2))


def check_policy(policy: Policy, name: str, image_shape: Sequence[int]) -> None:
    """Raises UserError unless the policy gives a uint8 image of its own shape for images of [h, w, c]; runs nothing.

    Args:
      policy: from `make_policy`.
      name: that of the policy in augment.views, for messages.
      image_shape: [h, w, c].

    >>> check_policy(make_policy("simaug", crop_padding=0, flip=True), "simaug", (32, 32, 3))
    """
    # Mapped over a batch of one, as views are made.
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.uint8)
    shape = f"uint8 images {list(image_shape)}"
    try:
        views = jax.eval_shape(jax.vmap(policy), keys, images)
    except Exception as error:  # whatever a policy raises
        cause = in_short(error).rstrip(".") + _place(error, name)
        raise UserError(
            f"augment.views names {name!r}, which fails for {shape} ({cause}): "
            f"{'correct it' if is_own(name) else 'name another policy, as crop_flip'}."
        ) from error
    if not isinstance(views, jax.ShapeDtypeStruct):
        found = f"a {type(views).__name__}"
    elif (views.shape, views.dtype) != (images.shape, images.dtype):
        found = f"{views.dtype} {list(views.shape[1:])}"
    else:
        return
    raise UserError(
        f"augment.views names {name!r}, which gives {found} for {shape}: return the same shape and dtype."
    )


def _place(error: Exception, name: str) -> str:
    """Where in the user's own code a policy failed, for the message."""
    libraries = ("site-packages", str(pathlib.Path(__file__).parents[1]))
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not any(library in frame.filename for library in libraries)
    ]
    return f" in line {frames[-1].lineno} of {frames[-1].filename}" if is_own(name) and frames else ""


def _numbers_of_randaug(name: str) -> tuple[int, int]:
    match = re.fullmatch(r"randaug\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\)", name)
    if match is None:
        raise UserError(
            f"augment.views names {name!r}, expected 'randaug(n,m)' with whole numbers, as in 'randaug(2,9)'."
        )
    count, magnitude = int(match[1]), int(match[2])
    if count < 1 or magnitude >= RAND_BINS:
        raise UserError(
            f"augment.views names {name!r}, expected 1 operation or more and a magnitude of 0 to "
            f"{RAND_BINS - 1}, as in 'randaug(2,9)'."
        )
    return count, magnitude
