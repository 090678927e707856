"""Features of many numbers in the plane: principal components, and t-SNE."""

import numpy as np
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tcl_jax.report.samples import unit

_PERPLEXITY = 30
_FEWEST = 5  # points of which t-SNE makes a map
_COMPONENTS = 50  # principal components that t-SNE sees


def projections(features: np.ndarray) -> dict[str, np.ndarray]:
    """Maps of the directions of the features: {"t-SNE": [n, 2], "PCA": [n, 2]}, float64, -1 to 1.

    The same features give the same maps, on any number of cores. Fewer than five features, and such that all have one
    direction, have no t-SNE.

    Args:
      features: floating [n, f], n >= 1.

    References:
      van der Maaten and Hinton, Visualizing Data using t-SNE, JMLR 9, 2008; perplexity 30, or a third of the points.
    """
    # Sums of several threads may differ in their last bits, which t-SNE makes large.
    with threadpool_limits(limits=1):
        components = _principal(unit(features))
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
    """Moved and scaled alike in both directions, so that they fill -1 to 1."""
    low, high = places.min(axis=0), places.max(axis=0)
    half = float((high - low).max()) / 2
    return (places - (low + high) / 2) / (half if half > 1e-9 else 1.0)
