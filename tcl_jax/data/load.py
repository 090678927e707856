"""Data sets by name: of TFDS, of a folder of images, or of the user's own."""

import os
from typing import Any

from tcl_jax.data import image_folder, own, tfds
from tcl_jax.data.dataset import Dataset, DatasetFacts, Options
from tcl_jax.errors import UserError
from tcl_jax.resolve import is_own


def load_dataset(
    name: str,
    *,
    data_dir: str | os.PathLike[str] = "",
    train_split: str = "train",
    test_split: str = "test",
    image_size: int = 0,
    skip_unreadable: bool = False,
    streaming: str = "auto",
    may_overlap: bool = False,
) -> Dataset:
    """Open an image classification data set, and decode it into memory if it fits.

    Args:
      name: a name of TFDS ("cifar10", "imagenet_resized/64x64", "cifar10:3.0.2"), "digits", "imagenet100",
        "image_folder" (see `image_folder.load`), or "module:attribute", a function of the user's own (see `own.load`).
        A data set of TFDS that is not prepared yet is prepared: `digits` at once, others where TensorFlow is installed.
      data_dir: the folder that holds the prepared data sets, "" means TFDS' default; for image_folder the one that
        holds train/<class>/, or unlabelled images alone.
      train_split, test_split: with TFDS' slicing, as "train[:90%]"; a test_split of "" asks for none.
      image_size: pixels to which every image is scaled and cut, see `decode_image`; 0 leaves them as they are.
      skip_unreadable: for image_folder, leave damaged images out, and say so on stderr, instead of refusing them.
      streaming: whether images are read when they are needed: "yes", "no", or "auto" for those that do not fit in
        memory.
      may_overlap: whether both splits may have images in common, as where `take_subset` divides their classes.

    Returns:
      Splits of uint8 images [n, h, w, c] and int32 labels [n], none of them empty. Training images without a class
      have the label -1; every test image has one. The test split is None where test_split is "", or where a function
      of the user's own gives none.

    Raises:
      UserError: the data set cannot be found or prepared, does not fit in memory though streaming is "no", or is not
        made of equally large uint8 images (for an image_size of 0), a test image has no class, or a class of an image
        folder has no training image that can be read.

    >>> digits = load_dataset("digits", train_split="train[:90%]", test_split="train[90%:]")
    >>> digits.train.images.shape
    (1293, 8, 8, 1)
    """
    if image_size < 0:
        raise UserError(
            f"data.image_size is {image_size}, expected a number of pixels, or 0 for images as they are."
        )
    options = Options(data_dir, train_split, test_split, image_size, skip_unreadable, streaming, may_overlap)
    return _kind(name).load(name, options)


def dataset_facts(
    name: str,
    *,
    data_dir: str | os.PathLike[str] = "",
    train_split: str = "train",
    test_split: str = "test",
    image_size: int = 0,
    may_overlap: bool = False,
) -> DatasetFacts:
    """What `load_dataset` would find, by the same arguments, as far as it is known without the images.

    Nothing is downloaded, prepared or decoded. The number of images is that of the prepared data set, of the files of
    an image folder, or that of a table for the data sets of configs/. Of an image folder the headers of some files give
    the shape; where images have no class, num_classes is 0. A function of the user's own is called.

    Raises:
      UserError: the data set is unknown, its images have many sizes and image_size is 0, or their number is not known.
    """
    options = Options(data_dir, train_split, test_split, image_size, may_overlap=may_overlap)
    return _kind(name).facts(name, options)


def _kind(name: str) -> Any:
    """The module whose `load` and `facts` know data sets of this name."""
    if is_own(name):
        return own
    return image_folder if name == image_folder.NAME else tfds
