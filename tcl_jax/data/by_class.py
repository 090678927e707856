"""Batches of a few classes with several images of each, so that an anchor has positives beside its own views."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tcl_jax.data.order import raw_stream
from tcl_jax.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Int32, Integer

_BY_CLASS = 2  # ends the spawn key; see `tcl_jax.data.order`
NO_IMAGE = -1
"""In place of a position: a row without an image."""


def check_images_per_class(
    images_per_class: int,
    batch_size: int,
    *,
    fields: tuple[str, str] = ("images_per_class", "batch_size"),
) -> None:
    """Refuse what does not divide a batch into equal groups.

    Args:
      fields: what the two are called in messages.

    Raises:
      UserError: images_per_class is below 2, or does not divide batch_size.
    """
    of_class, of_batch = fields
    if images_per_class < 2:
        raise UserError(f"{of_class} is {images_per_class}, expected 2 or more: give a larger one.")
    if batch_size < 1 or batch_size % images_per_class:
        raise UserError(
            f"{of_class} is {images_per_class}, which does not divide {of_batch} {batch_size} into equal groups: "
            "give a divisor of it."
        )


def class_steps(
    labels: Integer[np.ndarray, " n"],
    batch_size: int,
    images_per_class: int,
    *,
    fields: tuple[str, str] = ("images_per_class", "batch_size"),
) -> tuple[int, float]:
    """Number of batches of `class_batches`, and how many images each has on average over epochs.

    Raises:
      UserError: as `class_batches`.

    >>> class_steps(np.repeat([0, 1, 2], [4, 4, 1]), 4, 2)
    (2, 3.6)
    """
    check_images_per_class(images_per_class, batch_size, fields=fields)
    classes, counts = np.unique(labels, return_counts=True)
    if (classes < 0).any():
        raise UserError(
            f"{fields[0]} is {images_per_class}, but some images are without a class: leave them out."
        )
    per_batch, groups = batch_size // images_per_class, int(_groups(counts, images_per_class).sum())
    if len(classes) < per_batch:
        raise UserError(
            f"{fields[0]} is {images_per_class}, so that {fields[1]} {batch_size} holds {per_batch} classes, but there "
            f"are images of {len(classes)}: give more images of each class, or a smaller {fields[1]}."
        )
    return groups // per_batch, len(labels) * per_batch / groups


def class_batches(
    labels: Integer[np.ndarray, " n"], batch_size: int, images_per_class: int, *, seed: int, epoch: int
) -> Int32[np.ndarray, "steps {batch_size}"]:
    """The batches of one epoch by class: a pure function of the arguments, the same in every version of NumPy.

    Class c of n_c images is divided at random into g_c = ceil(n_c / m) groups of at most m images, m being
    images_per_class, whose sizes differ by at most one. A group takes m rows of a batch; those beyond its images have
    none. Of G groups in all, a batch holds P = batch_size / m. What holds in every epoch:

    - There are S = floor(G / P) batches. No image comes twice; the G - S P < P groups for which there is no batch, anew
      at random in each epoch, are left out, and all other images come once.
    - The groups of a batch are of P classes, if no g_c is above S. Of a class with more, a batch has at most
      ceil(g_c / S) groups.
    - For m >= 3, each image of a class of two or more has another of its class in its batch. (For m = 2 one image of a
      class of an odd number has not.)

    Takes O(n log n) time. The rows of a batch are in random order, so that any part of it is of many classes.

    Args:
      labels: int [n], 0 or more.
      batch_size: a multiple of images_per_class.
      images_per_class: m, 2 or more.
      seed, epoch: 0 or more.

    Returns:
      int32 [S, batch_size], positions in labels; -1 for a row without an image.

    Raises:
      UserError: m is below 2 or does not divide batch_size, there are fewer than P classes, or a label is negative.
      ValueError: seed or epoch is negative.

    >>> batches = class_batches(np.repeat([0, 1, 2], [4, 3, 1]), 12, 4, seed=0, epoch=0)
    >>> batches.shape, np.sort(batches).tolist()
    ((1, 12), [[-1, -1, -1, -1, 0, 1, 2, 3, 4, 5, 6, 7]])
    """
    labels = np.asarray(labels)
    steps, _ = class_steps(labels, batch_size, images_per_class)
    draw = raw_stream(seed, (epoch, _BY_CLASS)).random_raw
    _, of_image, counts = np.unique(labels, return_inverse=True, return_counts=True)
    groups = _groups(counts, images_per_class)
    positions = np.lexsort((draw(len(labels)), of_image))  # class by class, each in random order
    of_class = of_image[positions]
    rank = np.arange(len(labels)) - (np.cumsum(counts) - counts)[of_class]
    # The images of a class are dealt to its groups in turn, so that the sizes differ by at most one.
    number, slot = rank % groups[of_class], rank // groups[of_class]
    table = np.full((groups.sum(), images_per_class), NO_IMAGE, np.int32)
    table[(np.cumsum(groups) - groups)[of_class] + number, slot] = positions
    class_of_group = np.repeat(np.arange(len(groups)), groups)
    per_batch = batch_size // images_per_class
    kept = np.argsort(draw(len(table)), kind="stable")[: steps * per_batch]
    # Classes in random order, and the groups of each dealt to the batches in turn: two of a class meet in a batch only
    # where it has more groups than there are batches.
    place = np.argsort(draw(len(groups)), kind="stable")
    kept = kept[np.argsort(place[class_of_group[kept]], kind="stable")]
    batches = (
        table[kept].reshape(per_batch, steps, images_per_class).swapaxes(0, 1).reshape(steps, batch_size)
    )
    batches = batches[np.argsort(draw(steps), kind="stable")]
    order = np.argsort(draw(steps * batch_size).reshape(steps, batch_size), axis=1, kind="stable")
    return np.take_along_axis(batches, order, axis=1)


def _groups(counts: np.ndarray, images_per_class: int) -> np.ndarray:
    return -(-counts // images_per_class)
