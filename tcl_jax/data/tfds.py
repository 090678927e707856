"""Data sets of TFDS by name: their records, and what is known of them without."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tcl_jax.data.dataset import Dataset, DatasetFacts, Options
from tcl_jax.data.decode import CHANNELS, decode_image
from tcl_jax.data.lazy import stays_on_disk
from tcl_jax.data.prepare import find_prepared, open_prepared
from tcl_jax.data.source import Source, make_split
from tcl_jax.data.splits import split_dict, train_and_test
from tcl_jax.errors import UserError

# Images in the splits of data sets that need not be prepared to be planned for.
_SIZES = {
    "caltech_birds2011": {"train": 5_994, "test": 5_794},
    "cifar10": {"train": 50_000, "test": 10_000},
    "cifar100": {"train": 50_000, "test": 10_000},
    "digits": {"train": 1_437, "test": 360},
    "fashion_mnist": {"train": 60_000, "test": 10_000},
    "imagenet100": {"train": 126_689, "test": 5_000},
}


class _Record(NamedTuple):
    encoded: bytes
    label: int


def load(name: str, options: Options) -> Dataset:
    """Open a data set of TFDS, which is prepared first where that is possible.

    Raises:
      UserError: as `load_dataset` says.
    """
    builder = open_prepared(name, options.data_dir)
    class_names = _class_names(builder, name)
    parts = options.splits
    sizes = [len(images) for images in train_and_test(builder.info.splits, name, options)]
    readers = [_open(builder, name, split) for split in parts.values()]
    decode = functools.partial(
        _decode, name=name, channels=builder.info.features["image"].shape[-1], size=options.image_size
    )
    shape = decode(*readers[0]([0])).shape
    decode = functools.partial(decode, shape=shape)
    lazy = stays_on_disk(name, sum(sizes), shape, streaming=options.streaming)
    loaded = {}
    for (field, split), size, read in zip(parts.items(), sizes, readers, strict=False):
        loaded[field] = make_split(Source(f"{name} {split}", size, read, decode, shape), lazy=lazy)
        _require_known_classes(loaded[field].labels, len(class_names), name, field, split)
    return Dataset(
        name,
        train=loaded["data.train_split"],
        test=loaded.get("data.test_split"),
        class_names=class_names,
        version=str(builder.version),
    )


def facts(name: str, options: Options) -> DatasetFacts:
    """What is known of a data set of TFDS that need not be prepared.

    Raises:
      UserError: as `dataset_facts` says.
    """
    builder, prepared = find_prepared(name, options.data_dir)
    if prepared:
        splits, source = builder.info.splits, "the prepared data set"
    elif builder.name in _SIZES:
        splits, source = split_dict(_SIZES[builder.name]), "published"
    else:
        raise UserError(
            f"The data set '{name}' is not prepared, so that the number of its images is not known: prepare it by "
            "training on it once, or point data.data_dir at the folder that holds it."
        )
    num_images = len(train_and_test(splits, name, options)[0])
    num_classes = len(_class_names(builder, name))
    return DatasetFacts(_image_shape(builder, name, options.image_size), num_classes, num_images, source)


def _class_names(builder: Any, name: str) -> tuple[str, ...]:
    """Names of the classes, none without a 'label'; UserError unless these are images with one class each at most."""
    import tensorflow_datasets as tfds

    features: dict[str, Any] = dict(builder.info.features.items())
    image: Any = features.get("image")
    label: Any = features.get("label")
    is_image = isinstance(image, tfds.features.Image) and image.np_dtype == np.uint8
    if not (is_image and image.shape[-1] in CHANNELS and isinstance(label, tfds.features.ClassLabel | None)):
        found = ", ".join(
            f"{key} ({type(feature).__name__}, {np.dtype(feature.np_dtype)}, {feature.shape[-1]} channels)"
            if isinstance(feature, tfds.features.Image)
            else f"{key} ({type(feature).__name__})"
            for key, feature in sorted(features.items())
        )
        raise UserError(
            f"The data set '{name}' has the features {found}, expected 'image' (an Image of uint8 with 1, 3 or 4 "
            "channels) and 'label' (a ClassLabel), or no 'label': choose an image classification data set as data.name."
        )
    return tuple(label.names) if label else ()


def _image_shape(builder: Any, name: str, image_size: int) -> tuple[int, int, int]:
    height, width, channels = builder.info.features["image"].shape
    if image_size:
        return image_size, image_size, channels
    if height is None or width is None:
        raise UserError(
            f"The data set '{name}' does not say how large its images are, and data.image_size is 0: give all one "
            "size, as in --config.data.image_size=224."
        )
    return height, width, channels


def _open(builder: Any, name: str, split: str) -> Callable[[Sequence[int]], list[_Record]]:
    """The function that reads records of a split, whose images are encoded, at these positions."""
    import tensorflow_datasets as tfds

    # The bytes are decoded here: TFDS would take OpenCV where it is installed, whose JPEG pixels differ. Images beside
    # the one that counts, such as masks, are not decoded at all.
    images = [
        key for key, feature in builder.info.features.items() if isinstance(feature, tfds.features.Image)
    ]
    try:
        stored = builder.as_data_source(split, decoders={key: tfds.decode.SkipDecoding() for key in images})
    except NotImplementedError as error:
        raise UserError(
            f"The data set '{name}' in {builder.data_dir} is stored as {builder.info.file_format.value}, "
            "expected array_record, which has random access: delete that folder and, where TensorFlow is "
            f"installed, repeat the command or run `tfds build {name} --file_format=array_record`."
        ) from error
    return lambda positions: [_Record(e["image"], e.get("label", -1)) for e in stored.__getitems__(positions)]


def _decode(
    record: _Record, *, name: str, channels: int, size: int, shape: tuple[int, ...] | None = None
) -> np.ndarray:
    """The image of a record, which must have the shape given; None takes any."""
    try:
        image = decode_image(record.encoded, channels=channels, size=size)
    except Exception as error:  # Pillow's types for a damaged file are many
        raise UserError(
            f"The data set '{name}' holds an image that cannot be read ({error}): prepare it again from sound files."
        ) from error
    if shape and image.shape != shape:
        raise UserError(
            f"The data set '{name}' has images of {_size(shape)} and of {_size(image.shape)} pixels, expected one "
            "size: give all the same with data.image_size, or choose another data.name."
        )
    return image


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _require_known_classes(labels: np.ndarray, num_classes: int, name: str, field: str, split: str) -> None:
    """Training images may be without a class, which is label -1 in TFDS; test images may not."""
    if field == "data.test_split" and (labels == -1).any():
        raise UserError(
            f"{field} is '{split}', where {np.count_nonzero(labels == -1)} images of the data set '{name}' have no "
            "class (label -1): choose a labelled split, or train without evaluation, by --config.data.test_split=''."
        )
    unknown = labels[(labels < -1) | (labels >= num_classes)]
    if len(unknown):
        raise UserError(
            f"{field} is '{split}', where {len(unknown)} images of the data set '{name}' have labels such as "
            f"{unknown[0]}, expected 0 to {num_classes - 1}, or -1 for an image without a class: choose another split."
        )
