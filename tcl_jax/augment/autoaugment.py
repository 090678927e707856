"""AutoAugment with its sub-policies for CIFAR-10 and ImageNet, and RandAugment."""

import jax
import jax.numpy as jnp
import numpy as np

from tcl_jax.augment.autoaugment_ops import (
    NAMES,
    Array,
    Operation,
    apply_operations,
    magnitude_of,
    make_operation,
    signs_of,
    stack,
)

BINS = 10
RAND_BINS = 31
RAND_OPERATIONS = tuple(name for name in NAMES if name != "Invert")

# Each line is a sub-policy: two times (operation, probability, magnitude 0 ... 9), in the order of the paper's tables 7
# and 9. Operations without a magnitude have 0 there.
CIFAR = (
    (("Invert", 0.1, 0), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, 0), ("Equalize", 0.9, 0)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, 0), ("Equalize", 0.5, 0)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, 0), ("AutoContrast", 0.4, 0)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, 0)),
    (("Equalize", 0.2, 0), ("AutoContrast", 0.6, 0)),
    (("Equalize", 0.2, 0), ("Equalize", 0.6, 0)),
    (("Color", 0.9, 9), ("Equalize", 0.6, 0)),
    (("AutoContrast", 0.8, 0), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, 0)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, 0), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, 0), ("Invert", 0.1, 0)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, 0)),
)
IMAGENET = (
    (("Posterize", 0.4, 8), ("Rotate", 0.6, 9)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 0)),
    (("Equalize", 0.8, 0), ("Equalize", 0.6, 0)),
    (("Posterize", 0.6, 7), ("Posterize", 0.6, 6)),
    (("Equalize", 0.4, 0), ("Solarize", 0.2, 4)),
    (("Equalize", 0.4, 0), ("Rotate", 0.8, 8)),
    (("Solarize", 0.6, 3), ("Equalize", 0.6, 0)),
    (("Posterize", 0.8, 5), ("Equalize", 1.0, 0)),
    (("Rotate", 0.2, 3), ("Solarize", 0.6, 8)),
    (("Equalize", 0.6, 0), ("Posterize", 0.4, 6)),
    (("Rotate", 0.8, 8), ("Color", 0.4, 0)),
    (("Rotate", 0.4, 9), ("Equalize", 0.6, 0)),
    (("Equalize", 0.0, 0), ("Equalize", 0.8, 0)),
    (("Invert", 0.6, 0), ("Equalize", 1.0, 0)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Rotate", 0.8, 8), ("Color", 1.0, 2)),
    (("Color", 0.8, 8), ("Solarize", 0.8, 7)),
    (("Sharpness", 0.4, 7), ("Invert", 0.6, 0)),
    (("ShearX", 0.6, 5), ("Equalize", 1.0, 0)),
    (("Color", 0.4, 0), ("Equalize", 0.6, 0)),
    (("Equalize", 0.4, 0), ("Solarize", 0.2, 4)),
    (("Solarize", 0.6, 5), ("AutoContrast", 0.6, 0)),
    (("Invert", 0.6, 0), ("Equalize", 1.0, 0)),
    (("Color", 0.6, 4), ("Contrast", 1.0, 8)),
    (("Equalize", 0.8, 0), ("Equalize", 0.6, 0)),
)
SubPolicies = tuple[tuple[tuple[str, float, int], ...], ...]


def auto_augment(key: jax.Array, image: jax.Array, *, sub_policies: SubPolicies) -> jax.Array:
    """One of the sub-policies at random, as torchvision's AutoAugment on PIL images (arXiv 1805.09501).

    Every sub-policy is equally likely. Its two operations follow each other, each applied with its probability; the
    magnitude of those in `SIGNED` is negative half of the time. Geometric operations take the nearest pixel and fill
    with black.

    Args:
      key: a random key; the same key gives the same view.
      image: uint8 [h, w, 1 or 3].
      sub_policies: `CIFAR` or `IMAGENET`.

    Returns:
      uint8 [h, w, 1 or 3].
    """
    return apply_operations(image, draw_sub_policy(key, sub_policies, image.shape[0], image.shape[1]))


def draw_sub_policy(key: jax.Array, sub_policies: SubPolicies, height: int, width: int) -> Operation:
    """The two operations of a random sub-policy, on a leading axis of 2; one that is not applied is Identity."""
    rows = []
    for sub_policy in sub_policies:
        for name, _, number in sub_policy:
            magnitude = magnitude_of(name, number, BINS, height, width)
            rows += [make_operation(name, sign * magnitude, height, width) for sign in signs_of(name)]
    table = stack(rows, (len(sub_policies), 2, 2))  # sub-policy, place in it, sign
    probabilities = np.array([[operation[1] for operation in pair] for pair in sub_policies], np.float32)
    nothing = make_operation("Identity", 0, height, width)

    # float32 in 64-bit mode too, so that a key means one view everywhere.
    draws = jax.random.uniform(key, (5,), jnp.float32)
    line = jnp.floor(draws[0] * len(sub_policies)).astype(jnp.int32)
    applied = draws[1:3] < jnp.asarray(probabilities)[line]
    signs = (draws[3:] < 0.5).astype(jnp.int32)

    def pick(array: Array, otherwise: Array) -> jax.Array:
        drawn = jnp.asarray(array)[line, jnp.arange(2, dtype=jnp.int32), signs]
        return jnp.where(applied.reshape(2, *[1] * otherwise.ndim), drawn, otherwise)

    return Operation(*(pick(*arrays) for arrays in zip(table, nothing, strict=True)))


def rand_augment(key: jax.Array, image: jax.Array, *, count: int, magnitude: int) -> jax.Array:
    """Random operations of one magnitude in turn, as torchvision's RandAugment on PIL images (arXiv 1909.13719).

    Each of the `count` operations is any of the 14 in `RAND_OPERATIONS`, Identity among them, with equal chance; the
    magnitude of those in `SIGNED` is negative half of the time. Geometric operations take the nearest pixel and fill
    with black.

    Args:
      key: a random key; the same key gives the same view.
      image: uint8 [h, w, 1 or 3].
      count: of operations, 1 or more.
      magnitude: 0 ... 30.

    Returns:
      uint8 [h, w, 1 or 3].
    """
    return apply_operations(image, draw_operations(key, count, magnitude, image.shape[0], image.shape[1]))


def draw_operations(key: jax.Array, count: int, magnitude: int, height: int, width: int) -> Operation:
    """The operations for one image, with one leading axis: their order."""
    rows = []
    for name in RAND_OPERATIONS:
        amount = magnitude_of(name, magnitude, RAND_BINS, height, width)
        rows += [make_operation(name, sign * amount, height, width) for sign in signs_of(name)]
    table = stack(rows, (2 * len(RAND_OPERATIONS),))
    # float32 in 64-bit mode too, so that a key means one view everywhere.
    draws = jax.random.uniform(key, (count,), jnp.float32)
    numbers = jnp.floor(draws * (2 * len(RAND_OPERATIONS))).astype(jnp.int32)
    return Operation(*(jnp.asarray(array)[numbers] for array in table))
