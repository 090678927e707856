"""Which examples a picture shows, and which lie nearest to them."""

import numpy as np

_STREAM = (0, 2)  # beside those of the order of training and of the held-out images
_BLOCK = 16_384  # rows of which a copy is made at a time


def first_of_classes(labels: np.ndarray, order: np.ndarray, count: int) -> np.ndarray:
    """The first image of each class, then the second of each, and so on, until there are `count`.

    Args:
      labels: [n], of all images.
      order: positions in `labels`, of the images to choose from.
      count: of images wanted; fewer are given where `order` has fewer.

    Returns:
      positions in `labels`, in that order.

    >>> first_of_classes(np.array([0, 0, 0, 1, 1]), np.array([2, 1, 4, 3]), 3)
    array([2, 4, 1])
    """
    seen: dict[int, int] = {}
    rank = np.empty(len(order), int)  # how many of its class came before
    for place, label in enumerate(labels[order].tolist()):
        rank[place] = seen[label] = seen.get(label, -1) + 1
    return order[np.argsort(rank, kind="stable")[:count]]


def shuffled(count: int) -> np.ndarray:
    """The numbers 0 to count - 1 in an order that is random and always the same: int64 [count].

    >>> sorted(shuffled(4).tolist()), (shuffled(4) == shuffled(4)).all().item()
    ([0, 1, 2, 3], True)
    """
    # The raw stream: it is the same in every version of NumPy.
    stream = np.random.PCG64(np.random.SeedSequence(entropy=0, spawn_key=_STREAM))
    return np.argsort(stream.random_raw(count), kind="stable")


def nearest(queries: np.ndarray, bank: np.ndarray, count: int) -> np.ndarray:
    """The rows of `bank` with the highest cosine to each query, nearest first.

    Args:
      queries: float [m, f], of any length.
      bank: float [n, f].
      count: of rows wanted; fewer are given where the bank has fewer.

    Returns:
      positions in the bank, int [m, count]. Of equal ones the first in the bank comes first.

    >>> nearest(np.array([[0.0, 2.0]]), np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.1]]), 2).tolist()
    [[2, 1]]
    """
    rows = unit(queries)
    cosines = [rows @ unit(bank[start : start + _BLOCK]).T for start in range(0, len(bank), _BLOCK)]
    return np.argsort(-np.concatenate(cosines, axis=1), axis=1, kind="stable")[:, :count]


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1, in float64; one of zeros stays as it is."""
    rows = np.asarray(rows, np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
