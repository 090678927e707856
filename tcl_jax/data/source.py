"""From a data set as it is stored to splits in memory or on disk, which TFDS' slicing names: "train[:90%]"."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tcl_jax.data.dataset import Split, in_blocks
from tcl_jax.data.lazy import LazyImages, threads
from tcl_jax.errors import UserError


class Source(NamedTuple):
    """A split as it is stored.

    Attributes:
      title: its name in progress bars.
      num_images: n.
      read: positions, each 0 to n - 1 -> the records there. A record has the number of its class as `label`.
      decode: record -> uint8 [h, w, c]; called by several threads at a time. None leaves the image out, which only a
        split in memory can do.
      shape: (h, w, c) of every image.
    """

    title: str
    num_images: int
    read: Callable[[Sequence[int]], Sequence[Any]]
    decode: Callable[[Any], Any]
    shape: tuple[int, ...]


def make_split(source: Source, *, lazy: bool) -> Split:
    """The split of a source: all of it in memory, or if `lazy` its labels alone, and images as they are asked for."""
    labels = np.empty(source.num_images, np.int32)
    if lazy:

        def fetch(position: int) -> np.ndarray:
            (record,) = source.read([int(position)])
            return source.decode(record)

        for block in in_blocks(len(labels), f"labels of {source.title}"):
            labels[block.start : block.stop] = [record.label for record in source.read(block)]
        return Split(LazyImages(fetch, range(len(labels)), source.shape), labels)
    images = np.empty((len(labels), *source.shape), np.uint8)
    count = 0
    for record, image in map_records(source.decode, source.read, len(labels), f"reading {source.title}"):
        if image is not None:
            images[count], labels[count] = image, record.label
            count += 1
    return Split(images[:count], labels[:count])


def map_records(
    function: Callable[[Any], Any], read: Callable[[Sequence[int]], Sequence[Any]], count: int, title: str
) -> Iterator[tuple[Any, Any]]:
    """Each of `count` records with what `function` makes of it, in order: read in blocks, worked on by threads."""
    for block in in_blocks(count, title):
        records = read(block)
        yield from zip(records, threads().map(function, records), strict=True)


def split_size(splits: Any, name: str, field: str, split: str) -> int:
    """Number of images of a split; arguments and errors are those of `split_positions`."""
    return len(split_positions(splits, name, field, split))


def split_positions(splits: Any, name: str, field: str, split: str) -> list[tuple[str, int]]:
    """What a split is made of.

    Args:
      splits: TFDS' SplitDict, which knows each whole split's size.
      name: of the data set, for the message.
      field: the config field that gave `split`, for the message.
      split: as in TFDS.

    Returns:
      (name of a whole split, position in it) of each image.

    Raises:
      UserError: there is no such split, or it is empty.
    """
    import tensorflow_datasets as tfds  # takes half a second, and only reading data needs it

    has = ", ".join(f"{key} ({info.num_examples} images)" for key, info in splits.items())
    try:
        parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(dict(splits.items()))
    except Exception as error:  # a malformed split is a ValueError, others are KeyError or AssertionError
        raise UserError(
            f"{field} is '{split}', expected a split of the data set '{name}', which has {has}, or a slice "
            "of one such as 'train[:90%]'."
        ) from error
    positions = [
        (part.splitname, position)
        for part in parts
        for position in range(*slice(part.from_, part.to).indices(splits[part.splitname].num_examples))
    ]
    if not positions:
        raise UserError(f"{field} is '{split}', which is empty: the data set '{name}' has {has}.")
    return positions


def split_dict(sizes: dict[str, int]) -> Any:
    """TFDS' SplitDict of whole splits with these numbers of images."""
    import tensorflow_datasets as tfds  # as in `split_positions`

    infos = [
        tfds.core.SplitInfo(name=name, shard_lengths=[size], num_bytes=0) for name, size in sizes.items()
    ]
    return tfds.core.splits.SplitDict(infos)
