"""Data sets by name: the images of a TFDS data set or of a folder, in memory or on disk until they are needed."""

import concurrent.futures
import functools
import os
from typing import Any

import numpy as np
from tqdm import tqdm

from tcl_jax.data import image_folder
from tcl_jax.data.dataset import Dataset, Split
from tcl_jax.data.decode import CHANNELS, decode_image
from tcl_jax.data.lazy import LazyImages
from tcl_jax.data.memory import stays_on_disk
from tcl_jax.data.prepare import open_prepared
from tcl_jax.data.splits import split_size
from tcl_jax.errors import UserError

_READ_SIZE = 512  # records read at a time


def load_dataset(
    name: str,
    *,
    data_dir: str | os.PathLike[str] = "",
    train_split: str = "train",
    test_split: str = "test",
    image_size: int = 0,
    skip_unreadable: bool = False,
    streaming: str = "auto",
) -> Dataset:
    """Opens an image classification data set, and decodes it into memory if it fits.

    name: a name of TFDS ("cifar10", "imagenet_resized/64x64", "cifar10:3.0.2"), "digits", our own, or "image_folder",
    see `load_image_folder`. A data set that is not prepared yet is prepared: `digits` at once, others where TensorFlow
    is installed.
    data_dir: the folder that holds the prepared data sets, "" means TFDS' default; for image_folder the images' own.
    Splits take TFDS' slicing.
    image_size: pixels to which every image is scaled and cut, see `decode_image`; 0 leaves them as they are.
    skip_unreadable: for image_folder, whether damaged images are left out.
    streaming: whether images are read when they are needed: "yes", "no", or "auto" for those that do not fit in memory.
    Raises UserError if the data set cannot be found or prepared, does not fit in memory though streaming is "no", or is
    not made of equally large uint8 images (for an image_size of 0) with one class each.

    >>> digits = load_dataset("digits", train_split="train[:90%]", test_split="train[90%:]")
    >>> digits.train.images.shape
    (1293, 8, 8, 1)
    """
    if image_size < 0:
        raise UserError(
            f"data.image_size is {image_size}, expected a number of pixels, or 0 for images as they are."
        )
    if name == image_folder.NAME:
        return image_folder.load_image_folder(
            data_dir,
            train_split=train_split,
            test_split=test_split,
            image_size=image_size,
            skip_unreadable=skip_unreadable,
            streaming=streaming,
        )
    builder = open_prepared(name, data_dir)
    class_names = read_class_names(builder, name)
    num_train = split_size(builder.info.splits, name, "data.train_split", train_split)
    num_test = split_size(builder.info.splits, name, "data.test_split", test_split)
    first = _read_split(builder, name, train_split, (), 1, image_size)
    shape = first.images.shape[1:]
    lazy = stays_on_disk(name, num_train + num_test, shape, streaming=streaming)
    read = _open_split if lazy else _read_split
    train = read(builder, name, train_split, shape, num_train, image_size)
    test = read(builder, name, test_split, shape, num_test, image_size)
    _require_known_classes(train.labels, len(class_names), name, "data.train_split", train_split)
    _require_known_classes(test.labels, len(class_names), name, "data.test_split", test_split)
    return Dataset(name, train, test, class_names)


def read_class_names(builder: Any, name: str) -> tuple[str, ...]:
    """Names of the classes, of a data set that is prepared or not.

    Raises:
      UserError: it is not made of images with one class each.
    """
    import tensorflow_datasets as tfds

    features: dict[str, Any] = dict(builder.info.features.items())
    image: Any = features.get("image")
    label: Any = features.get("label")
    is_image = isinstance(image, tfds.features.Image) and image.np_dtype == np.uint8
    if not (is_image and image.shape[-1] in CHANNELS and isinstance(label, tfds.features.ClassLabel)):
        found = ", ".join(f"{key} ({type(feature).__name__})" for key, feature in sorted(features.items()))
        raise UserError(
            f"The data set '{name}' has the features {found}, expected 'image' (an Image of uint8) and "
            "'label' (a ClassLabel): choose an image classification data set as data.name."
        )
    return tuple(label.names)


def _read_split(
    builder: Any, name: str, split: str, shape: tuple[int, ...], num_examples: int, image_size: int
) -> Split:
    """Reads and decodes the first `num_examples` of a split; shape: of an image, () takes that of the first."""
    source = _open_source(builder, name, split)
    decode = functools.partial(
        _decode, name=name, channels=builder.info.features["image"].shape[-1], size=image_size
    )
    images = np.empty((num_examples, *shape), np.uint8)
    labels = np.empty(num_examples, np.int32)
    progress = tqdm(
        total=num_examples, desc=f"reading {name} {split}", unit=" images", delay=2, leave=False, disable=None
    )
    with progress, concurrent.futures.ThreadPoolExecutor() as pool:  # Pillow decodes without holding the GIL
        for start in range(0, num_examples, _READ_SIZE):
            examples = source.__getitems__(range(start, min(start + _READ_SIZE, num_examples)))
            labels[start : start + len(examples)] = [example["label"] for example in examples]
            for index, image in enumerate(pool.map(decode, (e["image"] for e in examples)), start):
                if not shape:
                    shape = image.shape
                    images = np.empty((num_examples, *shape), np.uint8)
                _require_one_size(name, shape, image.shape)
                images[index] = image
            progress.update(len(examples))
    return Split(images, labels)


def _open_split(
    builder: Any, name: str, split: str, shape: tuple[int, ...], num_examples: int, image_size: int
) -> Split:
    """As `_read_split`, with the images left on disk; the labels are read now."""
    source = _open_source(builder, name, split)
    channels = builder.info.features["image"].shape[-1]

    def fetch(position: int) -> np.ndarray:
        (example,) = source.__getitems__([int(position)])
        image = _decode(example["image"], name=name, channels=channels, size=image_size)
        _require_one_size(name, shape, image.shape)
        return image

    labels = np.empty(num_examples, np.int32)
    starts = range(0, num_examples, _READ_SIZE)
    for start in tqdm(starts, desc=f"labels of {name} {split}", delay=2, leave=False, disable=None):
        examples = source.__getitems__(range(start, min(start + _READ_SIZE, num_examples)))
        labels[start : start + len(examples)] = [example["label"] for example in examples]
    return Split(LazyImages(fetch, range(num_examples), shape), labels)


def _open_source(builder: Any, name: str, split: str) -> Any:
    """The records of a split, with encoded images."""
    import tensorflow_datasets as tfds

    # The bytes are decoded here: TFDS would take OpenCV where it is installed, whose JPEG pixels differ. Images beside
    # the one that counts, such as masks, are not decoded at all.
    images = [
        key for key, feature in builder.info.features.items() if isinstance(feature, tfds.features.Image)
    ]
    try:
        return builder.as_data_source(split, decoders={key: tfds.decode.SkipDecoding() for key in images})
    except NotImplementedError as error:
        raise UserError(
            f"The data set '{name}' in {builder.data_dir} is stored as {builder.info.file_format.value}, "
            "expected array_record, which has random access: delete that folder and, where TensorFlow is "
            f"installed, repeat the command or run `tfds build {name} --file_format=array_record`."
        ) from error


def _decode(encoded: bytes, *, name: str, channels: int, size: int) -> np.ndarray:
    try:
        return decode_image(encoded, channels=channels, size=size)
    except Exception as error:  # Pillow's types for a damaged file are many
        raise UserError(
            f"The data set '{name}' holds an image that cannot be read ({error}): prepare it again from sound files."
        ) from error


def _require_one_size(name: str, first: tuple[int, ...], other: tuple[int, ...]) -> None:
    if first != other:
        raise UserError(
            f"The data set '{name}' has images of {_size(first)} and of {_size(other)} pixels, expected one "
            "size: give all the same with data.image_size, or choose another data.name."
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
