"""The augmentation of SimCLR and SupCon: resized crop, mirror image, colour jitter and grey."""

import jax

from tcl_jax.augment.checks import check_image
from tcl_jax.augment.color_jitter import random_color_jitter, random_gray
from tcl_jax.augment.flip import random_flip
from tcl_jax.augment.resized_crop import random_resized_crop


def simaug(key: jax.Array, image: jax.Array, *, flip: bool) -> jax.Array:
    """One view by the augmentation of SimCLR (arXiv 2002.05709) with the figures of SupCon (arXiv 2004.11362) on CIFAR.

    In this order: a window of 0.2 ... 1 of the area with aspect ratio 3/4 ... 4/3, resized to the old size; a mirror
    image half of the time; with probability 0.8 brightness, contrast and saturation by factors of 0.6 ... 1.4 and hue
    by up to 0.1 of a turn, in random order; with probability 0.2 grey. Every operation is defined by torchvision on
    PIL images and ends in uint8. Of an image of one channel only brightness and contrast change.

    Args:
      key: a random key; the same key gives the same view.
      image: uint8 [h, w, 1 or 3].
      flip: False never mirrors (digits and letters change their meaning).

    Returns:
      uint8 [h, w, 1 or 3].

    Raises:
      ValueError: an image of another shape or dtype.
    """
    check_image("simaug", image)
    crop_key, flip_key, jitter_key, gray_key = jax.random.split(key, 4)
    image = random_resized_crop(crop_key, image)
    if flip:
        image = random_flip(flip_key, image)
    return random_gray(gray_key, random_color_jitter(jitter_key, image))
