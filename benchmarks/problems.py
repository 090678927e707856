"""The input of a benchmark of the losses: the same numbers for every method."""

from typing import NamedTuple

import numpy as np

TEMPERATURE, K1, K2 = 0.1, 5000.0, 1.0
SCALE, BIAS = 10.0, -10.0  # of two towers
VIEWS = 2
BATCH = 256  # rows that meet a queue of n rows
ROWS_PER_CLASS = 8  # on average, at least: among few rows of many classes there would be hardly a positive


class Problem(NamedTuple):
    """Unit rows with their labels.

    Attributes:
      embeddings: float32 [n, width]; a method rounds them to `dtype`, "float32" or "bfloat16".
      labels: int32 [n], random classes, for TCL and SupCon.
      images: int32 [n], which image a row is a view of, for NT-Xent.
      others: float32 [n, width], of the other tower, for CLIP and SigLIP.
      batch, batch_labels: float32 [BATCH, width] and int32 [BATCH], the anchors where `embeddings` are a queue.
    """

    embeddings: np.ndarray
    labels: np.ndarray
    images: np.ndarray
    others: np.ndarray
    batch: np.ndarray
    batch_labels: np.ndarray
    dtype: str

    @property
    def size(self) -> int:
        return len(self.labels)


def make_problem(size: int, width: int, classes: int, dtype: str) -> Problem:
    """Random rows, the same whenever the arguments are the same."""
    random = np.random.default_rng(size)
    classes = min(classes, size // ROWS_PER_CLASS)

    def rows(count: int) -> np.ndarray:
        drawn = random.normal(size=(count, width)).astype(np.float32)
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    def labels(count: int) -> np.ndarray:
        return random.integers(0, classes, count, dtype=np.int32)

    images = np.tile(np.arange(size // VIEWS, dtype=np.int32), VIEWS)
    return Problem(rows(size), labels(size), images, rows(size), rows(BATCH), labels(BATCH), dtype)
