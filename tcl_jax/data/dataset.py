"""What a data set is to the rest: two splits of uint8 images, class names, statistics of the channels."""

import dataclasses
import functools
import math
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from tcl_jax.data.lazy import LazyImages

_COUNTED = 512  # images counted at a time
_LARGEST_COUNTED = 65_536  # images beyond which a part of them tells the statistics well enough


class Split(NamedTuple):
    """Part of a data set. images: uint8 [n, h, w, c]. labels: int32 [n], 0 to the number of classes - 1."""

    images: np.ndarray | LazyImages
    labels: np.ndarray

    def select(self, indices: np.ndarray) -> "Split":
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
    """A training and a test split whose images have one size, and the names of the classes."""

    name: str
    train: Split
    test: Split
    class_names: tuple[str, ...]

    @functools.cached_property
    def channel_statistics(self) -> ChannelStatistics:
        """Mean and standard deviation of the training images; see `channel_statistics`."""
        return channel_statistics(self.train.images)


def channel_statistics(images: np.ndarray | LazyImages) -> ChannelStatistics:
    """Mean and standard deviation of each channel of uint8 [n, h, w, c] images, scaled to [0, 1].

    Of more than 65,536 images only so many count, evenly spaced, wherever they are stored.

    The sums are exact integers, so the result is the same on every machine. A channel of one value has no
    spread: its standard deviation is given as 1, so that it can be divided by.
    """
    levels = np.arange(256)
    histograms = np.zeros((images.shape[-1], 256), np.int64)
    count = min(len(images), _LARGEST_COUNTED)
    counted = np.arange(count) * len(images) // count
    progress = tqdm(range(0, count, _COUNTED), desc="channel statistics", delay=2, leave=False, disable=None)
    for start in progress:
        block = images[counted[start : start + _COUNTED]]
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
