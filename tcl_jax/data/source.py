"""From a split as it is stored to one in memory or on disk."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from tcl_jax.data.dataset import Split, in_blocks
from tcl_jax.data.lazy import LazyImages, threads


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
