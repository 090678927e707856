"""The input of a benchmark of the losses: the same numbers for every method."""

from typing import NamedTuple

import numpy as np

TEMPERATURE, K1, K2 = 0.1, 5000.0, 1.0
VIEWS = 2


class Problem(NamedTuple):
    """Unit rows with their labels.

    Attributes:
      embeddings: float32 [n, width]; a method rounds them to `dtype`, "float32" or "bfloat16".
      labels: int32 [n], random classes, for TCL and SupCon.
      images: int32 [n], which image a row is a view of, for NT-Xent.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    images: np.ndarray
    dtype: str

    @property
    def size(self) -> int:
        return len(self.labels)


def make_problem(size: int, width: int, classes: int, dtype: str) -> Problem:
    """Random rows, the same whenever the arguments are the same."""
    random = np.random.default_rng(size)
    embeddings = random.normal(size=(size, width)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    labels = random.integers(0, classes, size, dtype=np.int32)
    images = np.tile(np.arange(size // VIEWS, dtype=np.int32), VIEWS)
    return Problem(embeddings, labels, images, dtype)
