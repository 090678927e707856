"""Images that stay where they are stored until they are asked for."""

import concurrent.futures
import functools
import os
from collections.abc import Callable, Sequence

import numpy as np

Fetch = Callable[[int], np.ndarray]
"""Position in the split -> uint8 [h, w, c]; called by several threads at a time."""


@functools.cache
def _threads() -> concurrent.futures.Executor:
    # Pillow decodes without holding the GIL: threads use all cores.
    return concurrent.futures.ThreadPoolExecutor(os.cpu_count())


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
        """The images at an array or a slice of indices."""
        wanted = self._positions[indices]
        images = np.empty((len(wanted), *self.shape[1:]), np.uint8)
        for place, image in enumerate(_threads().map(self._fetch, wanted)):
            images[place] = image
        return images

    def select(self, indices: np.ndarray) -> "LazyImages":
        """Some of the images, none of which is read yet."""
        return LazyImages(self._fetch, self._positions[indices], self.shape[1:])
