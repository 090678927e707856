"""Images that stay where they are stored until they are asked for, and when they should."""

import concurrent.futures
import functools
import math
import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from tcl_jax.errors import UserError

STREAMING = ("auto", "yes", "no")
_SHARE = 0.8  # of the free memory; the rest is for the program itself
_MEMINFO = pathlib.Path("/proc/meminfo")
_CGROUP_LIMIT = pathlib.Path("/sys/fs/cgroup/memory.max")

Fetch = Callable[[int], np.ndarray]
"""Position in the split -> uint8 [h, w, c]; called by several threads at a time."""


@functools.cache
def threads() -> concurrent.futures.Executor:
    """The threads that read and decode images: one for each core, and some that wait for the disk meanwhile."""
    # Pillow decodes without holding the GIL: threads use all cores.
    return concurrent.futures.ThreadPoolExecutor((os.cpu_count() or 1) + 4)


class LazyImages:
    """Stands for the array uint8 [n, h, w, c] in a `Split`; images[positions] reads and decodes those images.

    Args:
      fetch: reads one image. What it raises comes out of the indexing.
      positions: those of the images in order, as `fetch` knows them.
      shape: (h, w, c) of every image.

    >>> images = LazyImages(lambda i: np.full((2, 2, 1), i, np.uint8), range(100), (2, 2, 1))
    >>> images.shape, images[[7, 3]][:, 0, 0, 0].tolist()
    ((100, 2, 2, 1), [7, 3])
    """

    def __init__(self, fetch: Fetch, positions: Sequence[int] | np.ndarray, shape: tuple[int, ...]):
        self._fetch, self._positions = fetch, np.asarray(positions)
        self.shape = (len(self._positions), *shape)

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, indices: Sequence[int] | slice | np.ndarray) -> np.ndarray:
        """The images at an array or a slice of indices.

        Raises:
          UserError: what `fetch` returned is not an image of the shape given.
        """
        wanted = self._positions[indices]
        images = np.empty((len(wanted), *self.shape[1:]), np.uint8)
        for place, fetched in enumerate(threads().map(self._fetch, wanted)):
            image = np.asarray(fetched)  # NumPy would cast another dtype, and repeat a smaller shape
            if image.dtype != np.uint8 or image.shape != self.shape[1:]:
                raise UserError(
                    f"Image {wanted[place]} is read as {image.dtype} {list(image.shape)}, expected uint8 "
                    f"{list(self.shape[1:])}: return that from the function that LazyImages calls."
                )
            images[place] = image
        return images

    def select(self, indices: np.ndarray) -> "LazyImages":
        """Some of the images, none of which is read yet."""
        return LazyImages(self._fetch, self._positions[indices], self.shape[1:])

    def mapped(self, function: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]) -> "LazyImages":
        """What `function` makes of each image, of this shape; none is read yet."""
        return LazyImages(lambda position: function(self._fetch(position)), self._positions, shape)


def stays_on_disk(name: str, num_images: int, shape: tuple[int, ...], *, streaming: str) -> bool:
    """Whether images are to be read when they are needed, instead of all at the start into uint8 arrays.

    Args:
      name: of the data set, for the message.
      num_images: of both splits.
      shape: (h, w, c) of one image.
      streaming: one of STREAMING; "auto" is "yes" for arrays that take more than 80 % of the memory that is free.

    Raises:
      UserError: streaming is another word, or "no" where the arrays do not fit.
    """
    if streaming not in STREAMING:
        raise UserError(f"data.streaming is '{streaming}', expected one of {', '.join(STREAMING)}.")
    needed, limit = num_images * math.prod(shape), int(_SHARE * free_memory())
    if streaming == "no" and needed > limit:
        raise UserError(
            f"The data set '{name}' takes {_gigabytes(needed)} in memory ({num_images:,} images of "
            f"{'x'.join(map(str, shape))} bytes), expected at most {_gigabytes(limit)}, which is 80 % of what is free: "
            "leave it on disk with data.streaming=auto, or give a smaller data.image_size."
        )
    return streaming == "yes" or (streaming == "auto" and needed > limit)


def free_memory() -> int:
    """Bytes that this process may still take, as far as the system says: Linux's estimate, a container's limit."""
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if _MEMINFO.exists():
        lines = dict(line.split(":") for line in _MEMINFO.read_text().splitlines())
        free = min(free, int(lines["MemAvailable"].split()[0]) * 1024)
    if _CGROUP_LIMIT.exists() and (limit := _CGROUP_LIMIT.read_text().strip()).isdigit():
        free = min(free, int(limit))
    return free


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.3g} MB"
