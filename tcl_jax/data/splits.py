"""Which images a training and a test split take, as TFDS' slicing names them ("train[:90%]"): none of them twice."""

import re
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from tcl_jax.data.dataset import Options
from tcl_jax.errors import UserError

Image = TypeVar("Image", bound=Hashable)


def train_and_test(
    splits: Any,
    name: str,
    options: Options,
    *,
    image: Callable[[str, int], Any] = lambda split, position: (split, position),
) -> tuple[list[Any], list[Any]]:
    """The images of `options.train_split` and those of `options.test_split`, in order.

    Args:
      splits: TFDS' SplitDict, which knows each whole split's size.
      name: of the data set, for messages.
      options: whose test_split may be "", for no test images.
      image: (name of a whole split, position in it) -> what an image is known by.

    Raises:
      UserError: a split that is not there or is empty, or an image that is more than once in one split, or in both
        though they may not overlap.

    >>> splits = split_dict({"train": 5, "test": 2})
    >>> train_and_test(splits, "x", Options(train_split="train[:3]", test_split="train[3:]"))[1]
    [('train', 3), ('train', 4)]
    """
    train = _images(splits, name, "data.train_split", options.train_split, image)
    test = _images(splits, name, "data.test_split", options.test_split, image) if options.test_split else []
    shared = len(set(train) & set(test))
    if shared and not options.may_overlap:
        raise UserError(
            f"data.train_split is '{options.train_split}' and data.test_split is '{options.test_split}', which have "
            f"{shared} of the images of the data set '{name}' in common, expected none: test on others, as with "
            f"{_halves(splits, options.train_split)}."
        )
    return train, test


def split_dict(sizes: dict[str, int]) -> Any:
    """TFDS' SplitDict of whole splits with these numbers of images."""
    import tensorflow_datasets as tfds  # takes half a second, and only reading data needs it

    infos = [
        tfds.core.SplitInfo(name=name, shard_lengths=[size], num_bytes=0) for name, size in sizes.items()
    ]
    return tfds.core.splits.SplitDict(infos)


def _images(
    splits: Any, name: str, field: str, split: str, image: Callable[[str, int], Image]
) -> list[Image]:
    """The images of the split that `field` names."""
    import tensorflow_datasets as tfds  # as in `split_dict`

    has = ", ".join(f"{key} ({info.num_examples} images)" for key, info in splits.items())
    try:
        parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(dict(splits.items()))
    except Exception as error:  # a malformed split is a ValueError, others are KeyError or AssertionError
        raise UserError(
            f"{field} is '{split}', expected a split of the data set '{name}', which has {has}, or slices, as with "
            f"{_halves(splits, 'train')}."
        ) from error
    images = [
        image(part.splitname, position)
        for part in parts
        for position in range(*slice(part.from_, part.to).indices(splits[part.splitname].num_examples))
    ]
    if not images:
        raise UserError(f"{field} is '{split}', which is empty: the data set '{name}' has {has}.")
    repeated = len(images) - len(set(images))
    if repeated:
        raise UserError(
            f"{field} is '{split}', which takes {repeated} of the images of the data set '{name}' more than once, "
            "expected each once: name parts that share no image, as in 'train[:10%]+train[90%:]'."
        )
    return images


def _halves(splits: Any, split: str) -> str:
    """The flags that divide a whole split into two for training and test: the first that `split` names, or train."""
    whole = next(word for word in [*re.findall(r"\w+", split), "train", *splits] if word in splits)
    percent = 80 if splits[whole].num_examples > 2 else 50
    return f"--config.data.train_split='{whole}[:{percent}%]' --config.data.test_split='{whole}[{percent}%:]'"
