"""What is known of a data set without its images: nothing is downloaded, prepared or decoded."""

import os
from typing import Any, NamedTuple

from tcl_jax.data import image_folder
from tcl_jax.data.prepare import find_prepared
from tcl_jax.data.sources import read_class_names
from tcl_jax.data.splits import split_dict, split_size
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


class DatasetFacts(NamedTuple):
    """Shape and numbers of a training split.

    Attributes:
      image_shape: (h, w, c), pixels.
      num_classes: labels are 0 to num_classes - 1.
      num_images: in the training split.
      source: where the number of images is from, for people.
    """

    image_shape: tuple[int, int, int]
    num_classes: int
    num_images: int
    source: str


def dataset_facts(
    name: str, *, data_dir: str | os.PathLike[str] = "", train_split: str = "train", image_size: int = 0
) -> DatasetFacts:
    """What `load_dataset` would find, by the same arguments, as far as it is known without the images.

    The number of images is that of the prepared data set, of the files of an image folder, or that of a table for the
    data sets of configs/. Of an image folder the headers of some files tell the shape.

    Raises:
      UserError: the data set is unknown, its images have many sizes and image_size is 0, or their number is not known.
    """
    if name == image_folder.NAME:
        return DatasetFacts(
            *image_folder.describe_image_folder(data_dir, train_split=train_split, image_size=image_size),
            source="files counted",
        )
    builder, prepared = find_prepared(name, data_dir)
    if prepared:
        splits, source = builder.info.splits, "the prepared data set"
    elif builder.name in _SIZES:
        splits, source = split_dict(_SIZES[builder.name]), "published"
    else:
        raise UserError(
            f"The data set '{name}' is not prepared, so that the number of its images is not known: prepare it by "
            "training on it once, or point data.data_dir at the folder that holds it."
        )
    num_images = split_size(splits, name, "data.train_split", train_split)
    num_classes = len(read_class_names(builder, name))
    return DatasetFacts(_image_shape(builder, name, image_size), num_classes, num_images, source)


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
