"""Data sets in memory: the images of a TFDS data set, decoded once into uint8 arrays."""

import dataclasses
import functools
import io
import math
import os
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from tcl_jax.data.prepare import open_prepared
from tcl_jax.errors import UserError

_PIL_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by number of channels
_READ_SIZE = 512  # records read at a time


class Split(NamedTuple):
    """Part of a data set. images: uint8 [n, h, w, c]. labels: int32 [n], 0 to the number of classes - 1."""

    images: np.ndarray
    labels: np.ndarray


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


def load_dataset(
    name: str,
    *,
    data_dir: str | os.PathLike[str] = "",
    train_split: str = "train",
    test_split: str = "test",
) -> Dataset:
    """Loads a TFDS image classification data set into memory.

    name: a name of TFDS ("cifar10", "imagenet_resized/64x64", "cifar10:3.0.2") or "digits", our own.
    A data set that is not prepared yet is prepared: `digits` at once, others where TensorFlow is installed.
    data_dir: the folder that holds the prepared data sets; "" means TFDS' default. Splits take TFDS' slicing.
    Raises UserError if the data set cannot be found or prepared, or if it is not made of equally large uint8
    images with one class each.

    >>> digits = load_dataset("digits", train_split="train[:90%]", test_split="train[90%:]")
    >>> digits.train.images.shape
    (1293, 8, 8, 1)
    """
    builder = open_prepared(name, data_dir)
    class_names = _class_names(builder, name)
    train = _read_split(builder, name, "data.train_split", train_split)
    test = _read_split(builder, name, "data.test_split", test_split)
    _require_one_size(name, train.images.shape[1:], test.images.shape[1:])
    return Dataset(name, train, test, class_names)


def channel_statistics(images: np.ndarray) -> ChannelStatistics:
    """Mean and standard deviation of each channel of uint8 [n, h, w, c] images, scaled to [0, 1].

    The sums are exact integers, so the result is the same on every machine. A channel of one value has no
    spread: its standard deviation is given as 1, so that it can be divided by.
    """
    levels = np.arange(256)
    histograms = np.zeros((images.shape[-1], 256), np.int64)
    for start in range(0, len(images), _READ_SIZE):
        for channel, histogram in enumerate(histograms):
            histogram += np.bincount(images[start : start + _READ_SIZE, ..., channel].ravel(), minlength=256)
    means, stds = [], []
    for histogram in histograms:
        # Python's integers from here: they do not overflow, and their quotient is rounded once.
        count = int(histogram.sum())
        total = int(histogram @ levels)
        spread = count * int(histogram @ levels**2) - total**2
        means.append(total / (255 * count))
        stds.append(math.sqrt(spread / (255 * count) ** 2) if spread else 1.0)
    return ChannelStatistics(tuple(means), tuple(stds))


def _class_names(builder: Any, name: str) -> tuple[str, ...]:
    import tensorflow_datasets as tfds

    features: dict[str, Any] = dict(builder.info.features.items())
    image: Any = features.get("image")
    label: Any = features.get("label")
    is_image = isinstance(image, tfds.features.Image) and image.np_dtype == np.uint8
    if not (is_image and image.shape[-1] in _PIL_MODES and isinstance(label, tfds.features.ClassLabel)):
        found = ", ".join(f"{key} ({type(feature).__name__})" for key, feature in sorted(features.items()))
        raise UserError(
            f"The data set '{name}' has the features {found}, expected 'image' (an Image of uint8) and "
            "'label' (a ClassLabel): choose an image classification data set as data.name."
        )
    return tuple(label.names)


def _read_split(builder: Any, name: str, field: str, split: str) -> Split:
    """Reads and decodes one split; `field` is the config field that named it."""
    import tensorflow_datasets as tfds

    num_examples = _split_size(builder, name, field, split)
    try:
        # The bytes are decoded below: TFDS would take OpenCV where it is installed, whose JPEG pixels differ.
        source = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    except NotImplementedError as error:
        raise UserError(
            f"The data set '{name}' in {builder.data_dir} is stored as {builder.info.file_format.value}, "
            "expected array_record, which has random access: delete that folder and, where TensorFlow is "
            f"installed, repeat the command or run `tfds build {name} --file_format=array_record`."
        ) from error
    mode = _PIL_MODES[builder.info.features["image"].shape[-1]]
    images = np.empty(0, np.uint8)
    labels = np.empty(num_examples, np.int32)
    progress = tqdm(
        total=num_examples, desc=f"reading {name} {split}", unit=" images", delay=2, leave=False, disable=None
    )
    with progress:
        for start in range(0, num_examples, _READ_SIZE):
            examples = source.__getitems__(range(start, min(start + _READ_SIZE, num_examples)))
            for index, example in enumerate(examples, start):
                image = _decode(example["image"], mode)
                if index == 0:
                    images = np.empty((num_examples, *image.shape), np.uint8)
                _require_one_size(name, images.shape[1:], image.shape)
                images[index] = image
                labels[index] = example["label"]
            progress.update(len(examples))
    _require_known_classes(labels, builder.info.features["label"].num_classes, name, field, split)
    return Split(images, labels)


def _split_size(builder: Any, name: str, field: str, split: str) -> int:
    splits = builder.info.splits
    has = ", ".join(f"{key} ({info.num_examples} images)" for key, info in splits.items())
    try:
        num_examples = splits[split].num_examples
    except Exception as error:  # a malformed split is a ValueError, others are KeyError or AssertionError
        raise UserError(
            f"{field} is '{split}', expected a split of the data set '{name}', which has {has}, or a slice "
            "of one such as 'train[:90%]'."
        ) from error
    if num_examples < 1:
        raise UserError(f"{field} is '{split}', which is empty: the data set '{name}' has {has}.")
    return num_examples


def _decode(encoded: bytes, mode: str) -> np.ndarray:
    with Image.open(io.BytesIO(encoded)) as image:
        pixels = np.asarray(image if image.mode == mode else image.convert(mode))
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]


def _require_one_size(name: str, first: tuple[int, ...], other: tuple[int, ...]) -> None:
    if first != other:
        raise UserError(
            f"The data set '{name}' has images of {_size(first)} and of {_size(other)} pixels, expected one "
            "size: prepare it with resized images or choose another data.name."
        )


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _require_known_classes(labels: np.ndarray, num_classes: int, name: str, field: str, split: str) -> None:
    unknown = labels[(labels < 0) | (labels >= num_classes)]
    if len(unknown):
        raise UserError(
            f"{field} is '{split}', where {len(unknown)} images of the data set '{name}' have labels such as "
            f"{unknown[0]}, expected 0 to {num_classes - 1}: choose a labelled split."
        )
