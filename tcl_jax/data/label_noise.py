"""Wrong labels at random, to see what a method makes of them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from tcl_jax.data.dataset import Dataset
from tcl_jax.data.order import raw_stream
from tcl_jax.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Int32, Integer

_NOISE = (0, 4)  # spawn key; see `tcl_jax.data.order`


def symmetric_noise(
    labels: Integer[np.ndarray, " n"], share: float, num_classes: int, *, seed: int
) -> Int32[np.ndarray, " n"]:
    """Labels of which each is wrong with the same probability, and then any other class alike.

        P(j | i) = 1 - p where j = i, else p / (C - 1)

    A pure function of the arguments, the same in every version of NumPy. With the same labels and seed, what is wrong
    at a smaller share is wrong in the same way at a larger one.

    Args:
      labels: int [n], 0 to C - 1.
      share: p, 0 to 1.
      num_classes: C, 2 or more.
      seed: 0 or more.

    Returns:
      int32 [n].

    References:
      Patrini et al., Making Deep Neural Networks Robust to Label Noise, CVPR 2017, arXiv 1609.03683.

    >>> symmetric_noise(np.array([0, 1, 1, 0]), 1.0, 2, seed=0).tolist()
    [1, 0, 0, 1]
    """
    drawn = raw_stream(seed, _NOISE).random_raw(2 * len(labels)).reshape(-1, 2)
    wrong = drawn[:, 0] / 2.0**64 < share
    steps = 1 + (drawn[:, 1] % np.uint64(num_classes - 1)).astype(np.int64)
    return np.where(wrong, (labels + steps) % num_classes, labels).astype(np.int32)


def add_label_noise(dataset: Dataset, share: float, *, seed: int) -> Dataset:
    """The data set with `symmetric_noise` in its training labels; without any it is the same object.

    Raises:
      UserError: training images without a class, or of a single one.
    """
    if not share:
        return dataset
    train = dataset.train
    check_label_noise(share, len(dataset.train_class_names) if train.is_labelled else 0)
    labels = symmetric_noise(train.labels, share, len(dataset.train_class_names), seed=seed)
    return dataclasses.replace(dataset, train=train._replace(labels=labels), true_labels=train.labels)


def check_label_noise(share: float, num_classes: int) -> None:
    """Raises a UserError where there is noise and fewer than two classes; 0 stands for images without a class."""
    if share and num_classes < 2:
        found = "of a single class" if num_classes else "not all of a class"
        raise UserError(
            f"data.label_noise is {share}, but the training images are {found}, and a wrong label is another class: "
            "set it to 0.0, or name another data.train_split."
        )
