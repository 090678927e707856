"""Data sets of the user's own: data.name = "module:attribute" names a function that returns one."""

import dataclasses
from typing import Any

import numpy as np

from tcl_jax.data.dataset import Dataset, DatasetFacts, Options, Split
from tcl_jax.data.lazy import LazyImages
from tcl_jax.data.prepare import other_prepared
from tcl_jax.errors import UserError
from tcl_jax.resolve import arguments_of, resolve

_EXAMPLE = (
    "flowers.py with def load(data_dir): ... return Dataset('flowers', train=Split(images, labels), "
    "test=Split(images, labels), class_names=('rose', 'tulip'))"
)


def load(name: str, options: Options) -> Dataset:
    """Call the user's function with those of the `options` that it names as parameters, and check what it returns.

    The function scales images, chooses splits and reads ahead as it likes. It returns a `Dataset` whose images are
    uint8 arrays [n, h, w, c], mapped from files or not, or `LazyImages` of that shape; labels are integers [n].

    Args:
      name: "module:attribute".

    Raises:
      UserError: a function that does not exist, it needs other arguments, or it returns something else.
    """
    try:
        function = resolve(name, {}, field="data.name", example=_EXAMPLE)
    except UserError as error:
        # "cifar10:abc" may be a mistake in the version of a data set of TFDS.
        no_module = isinstance(error.__cause__, ModuleNotFoundError)
        raise (no_module and other_prepared(name, options.data_dir)) or error from error.__cause__
    dataset = function(**arguments_of(function, options._asdict(), field="data.name"))
    made = f"The function {name!r} of data.name returned"
    if not isinstance(dataset, Dataset):
        raise UserError(
            f"{made} a {type(dataset).__name__}, expected a tcl_jax.data.Dataset: return one, as in {_EXAMPLE}."
        )
    names = dataset.class_names
    if not isinstance(names, list | tuple) or not all(isinstance(each, str) for each in names):
        raise UserError(
            f"{made} class_names {names!r}, expected a tuple of strings, one for each class: return that."
        )
    # What a file's name may hold and no text can: as escapes, so that it can be printed and stored.
    names = tuple(name.encode("utf-8", "backslashreplace").decode() for name in names)
    train = _checked_split(dataset.train, len(names), f"{made} a split 'train' whose")
    asked = dataset.test is not None and options.test_split
    test = _checked_split(dataset.test, len(names), f"{made} a split 'test' whose") if asked else None
    if test is None:
        return dataclasses.replace(dataset, train=train, test=None, class_names=names)
    if not test.is_labelled:
        raise UserError(
            f"{made} a split 'test' with images without a class (label -1), which nothing can be judged by: label "
            "all, or return test=None to train without evaluation."
        )
    if train.images.shape[1:] != test.images.shape[1:]:
        raise UserError(
            f"{made} training images of {list(train.images.shape[1:])} and test images of "
            f"{list(test.images.shape[1:])}, expected one height, width and number of channels: scale both to one size."
        )
    return dataclasses.replace(dataset, train=train, test=test, class_names=names)


def facts(name: str, options: Options) -> DatasetFacts:
    """What is known of a data set of the user's own, for which its function is called; errors are those of `load`."""
    dataset = load(name, options)
    images = dataset.train.images
    height, width, channels = images.shape[1:]
    return DatasetFacts(
        (height, width, channels), len(dataset.class_names), len(images), f"counted by {name}"
    )


def _checked_split(split: Any, num_classes: int, whose: str) -> Split:
    """The split with int32 labels, if it is one."""
    images, labels = split if isinstance(split, tuple) and len(split) == 2 else (split, None)
    is_array = isinstance(images, np.ndarray) and images.dtype == np.uint8
    if not (is_array or isinstance(images, LazyImages)) or len(images.shape) != 4:
        raise UserError(
            f"{whose} images are {_describe(images)}, expected a NumPy array uint8 [n, h, w, c] or LazyImages: return "
            "the pixels as 0 to 255, channels last."
        )
    if not isinstance(labels, np.ndarray) or labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(
            f"{whose} labels are {_describe(labels)}, expected a NumPy array of integers [n]: return the number of "
            "each image's class."
        )
    if len(images) != len(labels):
        raise UserError(
            f"{whose} images are {len(images)} and labels {len(labels)}, expected one label for each image: return "
            "as many labels as images."
        )
    if not len(images):
        raise UserError(
            f"{whose} images are an empty array, expected at least one image: see that the function finds its files."
        )
    unknown = labels[(labels < -1) | (labels >= num_classes)]
    if len(unknown):
        named = f"0 to {num_classes - 1}, or " if num_classes else ""
        raise UserError(
            f"{whose} labels hold {unknown[0]}, expected {named}-1 for an image without a class, as there are "
            f"{num_classes} class names: number the classes from 0 and name each in class_names."
        )
    images[:1]  # the first of LazyImages is checked here, and not after the training has begun
    return Split(images, labels.astype(np.int32))


def _describe(value: Any) -> str:
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{type(value).__name__} {value.dtype} {list(value.shape)}"
    return f"a {type(value).__name__}"
