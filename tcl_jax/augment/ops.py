"""Image operations for policies of your own; what each does is defined by PIL and torchvision on uint8 images.

Those named random_... take (key, image, *, options) and give an image of the same shape and dtype, so that a policy is
a few of them in a row. In my_augment.py, for `augment.views = ("my_augment:policy", "my_augment:policy")`:

>>> import jax, jax.numpy as jnp
>>> from tcl_jax.augment import ops
>>> def policy(key, image):
...     crop_key, flip_key, jitter_key, gray_key, blur_key = jax.random.split(key, 5)
...     image = ops.random_resized_crop(crop_key, image, area=(0.08, 1.0))
...     image = ops.random_flip(flip_key, image)
...     image = ops.random_color_jitter(jitter_key, image, strength=0.8, hue=0.2)
...     image = ops.random_gray(gray_key, image)
...     return ops.random_gaussian_blur(blur_key, image, kernel_size=3)
>>> jax.eval_shape(policy, jax.random.key(0), jnp.zeros((32, 32, 3), jnp.uint8)).shape
(32, 32, 3)

A known policy can be a part of one: make_policy("autoaug_cifar", crop_padding=4, flip=True), then `random_cutout`.
"""

from tcl_jax.augment.crops import random_crop, random_cutout, random_flip, random_resized_crop
from tcl_jax.augment.filters import gaussian_blur, random_gaussian_blur
from tcl_jax.augment.jitter import random_color_jitter, random_gray
from tcl_jax.augment.tone import solarize

__all__ = [
    "gaussian_blur",
    "random_color_jitter",
    "random_crop",
    "random_cutout",
    "random_flip",
    "random_gaussian_blur",
    "random_gray",
    "random_resized_crop",
    "solarize",
]
