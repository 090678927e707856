"""Which examples a picture shows, which are nearest to them, and where they are in a map."""

import numpy as np

_STREAM = (0, 2)  # beside those of the order of training and of the held-out images
_BLOCK = 16_384  # rows of which a copy is made at a time
_PERPLEXITY = 30
_FEWEST = 5  # points of which t-SNE makes a map
_COMPONENTS = 50  # principal components that t-SNE sees


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
      positions in the bank, int [m, count]; ties go to the first in the bank.

    >>> nearest(np.array([[0.0, 2.0]]), np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.1]]), 2).tolist()
    [[2, 1]]
    """
    rows = _unit(queries)
    cosines = [rows @ _unit(bank[start : start + _BLOCK]).T for start in range(0, len(bank), _BLOCK)]
    return np.argsort(-np.concatenate(cosines, axis=1), axis=1, kind="stable")[:, :count]


def projections(features: np.ndarray) -> dict[str, np.ndarray]:
    """Maps of the directions of the features: {"t-SNE": [n, 2], "PCA": [n, 2]}, float64, -1 to 1.

    The same features give the same maps, on any number of cores. Fewer than five features, and such that all have one
    direction, have no t-SNE.

    Args:
      features: floating [n, f], n >= 1.

    References:
      van der Maaten and Hinton, Visualizing Data using t-SNE, JMLR 9, 2008; perplexity 30, or a third of the points.
    """
    from sklearn.manifold import TSNE  # takes seconds, which those who only choose examples need not wait for
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    # Sums of several threads may differ in their last bits, which t-SNE makes large.
    with threadpool_limits(limits=1):
        components = _principal(_unit(features))
        plane = np.pad(components[:, :2], ((0, 0), (0, max(0, 2 - components.shape[1]))))
        maps = {"PCA": _scaled(plane)}
        spread = float(components[:, :1].std()) if components.size else 0.0
        if len(features) >= _FEWEST and spread > 1e-9:
            found = TSNE(
                perplexity=min(_PERPLEXITY, (len(features) - 1) / 3),
                init=(plane / spread * 1e-4).astype(np.float32),
                random_state=0,
            ).fit_transform(components.astype(np.float32))
            maps = {"t-SNE": _scaled(found.astype(np.float64)), **maps}
    return maps


def _principal(rows: np.ndarray) -> np.ndarray:
    """The first principal components: [n, at most 50], their signs such that the largest entry of each is above 0."""
    centered = rows - rows.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centered, full_matrices=False)
    components = left[:, :_COMPONENTS] * sizes[:_COMPONENTS]
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=0)[None], axis=0)
    return components * np.where(largest < 0, -1.0, 1.0)


def _scaled(places: np.ndarray) -> np.ndarray:
    """Moved and scaled by one factor in both directions, so that they fill -1 to 1."""
    low, high = places.min(axis=0), places.max(axis=0)
    half = float((high - low).max()) / 2
    return (places - (low + high) / 2) / (half if half > 1e-9 else 1.0)


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1, in float64; one of zeros stays as it is."""
    rows = np.asarray(rows, np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
