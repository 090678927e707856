"""What a data set is to the rest: two splits of uint8 images, class names, statistics of the channels."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from tqdm import tqdm

from tcl_jax.data.lazy import LazyImages

if TYPE_CHECKING:
    from jaxtyping import UInt8

BLOCK = 512  # images that are read or counted at a time
_LARGEST_COUNTED = 65_536  # images beyond which a part of them gives the statistics well enough


class Split(NamedTuple):
    """Part of a data set.

    Attributes:
      images: uint8 [n, h, w, c].
      labels: int32 [n], 0 to the number of classes - 1; -1 is an image without a class.
    """

    images: np.ndarray | LazyImages
    labels: np.ndarray

    @property
    def is_labelled(self) -> bool:
        """Whether every image has a class."""
        return bool((self.labels >= 0).all())

    def select(self, indices: np.ndarray) -> Split:
        """Some of the examples."""
        images = self.images
        some = images.select(indices) if isinstance(images, LazyImages) else images[indices]
        return Split(some, self.labels[indices])


class ChannelStatistics(NamedTuple):
    """Mean and standard deviation of each channel, for values scaled to [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split whose images have one size, and the names of the classes.

    Attributes:
      name: as the config gives it.
      train: its images may be without a class.
      test: every image has a class; None where no test split is asked for.
      class_names: by label; may be empty where no image has a class.
      version: of the data as they are stored, such as TFDS' "3.0.2"; "" where they have none.
      files: digests of the files of the training and the test split, for `identity`; none where labels stand for them.
      unseen_classes: how many of the classes, the last by label, are of test images alone; see `take_subset`.
      true_labels: int32 [n], of the training images, where `add_label_noise` made some of theirs wrong; else None.
    """

    name: str
    train: Split
    test: Split | None
    class_names: tuple[str, ...]
    version: str = ""
    files: tuple[str, ...] = ()
    unseen_classes: int = 0
    true_labels: np.ndarray | None = None

    @property
    def train_class_names(self) -> tuple[str, ...]:
        """Of the classes that are trained on, by label."""
        return self.class_names[: len(self.class_names) - self.unseen_classes]

    @functools.cached_property
    def channel_statistics(self) -> ChannelStatistics:
        """Mean and standard deviation of the training images; see `channel_statistics`."""
        return channel_statistics(self.train.images)


class DatasetFacts(NamedTuple):
    """What is known of a training split without its images.

    Attributes:
      image_shape: (h, w, c), pixels.
      num_classes: labels are 0 to num_classes - 1; 0 where no image has a class.
      num_images: in the training split.
      source: where the number of images is from, for people.
    """

    image_shape: tuple[int, int, int]
    num_classes: int
    num_images: int
    source: str


class Options(NamedTuple):
    """How a data set is to be opened; what each means is said at `load_dataset`."""

    data_dir: str | os.PathLike[str] = ""
    train_split: str = "train"
    test_split: str = "test"
    image_size: int = 0
    skip_unreadable: bool = False
    streaming: str = "auto"
    may_overlap: bool = False

    @property
    def splits(self) -> dict[str, str]:
        """The splits that are asked for, by the field that gives each; an empty data.test_split asks for none."""
        test = {"data.test_split": self.test_split} if self.test_split else {}
        return {"data.train_split": self.train_split, **test}


def in_blocks(count: int, title: str) -> Iterator[range]:
    """0 to count - 1 in ranges of at most BLOCK; a bar shows progress on a terminal if it takes longer than 2 s."""
    with tqdm(total=count, desc=title, unit=" images", delay=2, leave=False, disable=None) as progress:
        for start in range(0, count, BLOCK):
            block = range(start, min(start + BLOCK, count))
            yield block
            progress.update(len(block))


def channel_statistics(images: UInt8[np.ndarray, "n h w c"] | LazyImages) -> ChannelStatistics:
    """Mean and standard deviation of each channel.

    The sums are exact integers, so the result is the same on every machine. A channel of one value has no spread: its
    standard deviation is given as 1, so that it can be divided by.

    Args:
      images: uint8 [n, h, w, c]. Of more than 65,536 only that many count, evenly spaced, wherever they are stored.

    Returns:
      c numbers each, for values scaled to [0, 1].
    """
    levels = np.arange(256)
    histograms = np.zeros((images.shape[-1], 256), np.int64)
    count = min(len(images), _LARGEST_COUNTED)
    counted = np.arange(count) * len(images) // count
    for positions in in_blocks(count, "channel statistics"):
        block = images[counted[positions.start : positions.stop]]
        for channel, histogram in enumerate(histograms):
            histogram += np.bincount(block[..., channel].ravel(), minlength=256)
    means, stds = [], []
    for histogram in histograms:
        # Python's integers from here: they do not overflow, and their quotient is rounded once.
        count = int(histogram.sum())
        total = int(histogram @ levels)
        spread = count * int(histogram @ levels**2) - total**2
        means.append(total / (255 * count))
        stds.append(math.sqrt(spread / (255 * count) ** 2) if spread else 1.0)
    return ChannelStatistics(tuple(means), tuple(stds))
