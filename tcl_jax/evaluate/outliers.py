"""Outliers: whether images of other data are farther from the training images than the test images are."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from tcl_jax.evaluate.arguments import check_count, check_features
from tcl_jax.evaluate.knn import near_unit, unit

if TYPE_CHECKING:
    from jaxtyping import Float


def knn_auroc(
    features: Float[ArrayLike, "m f"],
    train_features: Float[ArrayLike, "n f"],
    outlier_features: Float[ArrayLike, "o f"],
    *,
    k: int = 50,
) -> float:
    """How well outliers are distinguished from the test images by their distance to the training images.

    The score of an image is the distance of its features to the k-th nearest of the training features, all divided by
    their length. The area under the ROC curve is the probability that an outlier has a larger score than a test image:

        AUROC = mean over outliers i and test images j of [score_i > score_j] + [score_i = score_j] / 2

    Args:
      features: floating [m, f], of the test images.
      train_features: floating [n, f].
      outlier_features: floating [o, f].
      k: 1 or more; where n < k it is n.

    Returns:
      0 to 1; 0.5 by chance.

    Raises:
      ValueError: an argument has another form, or features that are not finite.

    References:
      Sun et al., Out-of-Distribution Detection with Deep Nearest Neighbors, ICML 2022 (arXiv 2204.06507); k = 50 is
      theirs for CIFAR-10.

    Examples:
      >>> knn_auroc([[1.0, 0.0], [0.9, 0.1]], [[1.0, 0.0]], [[0.0, 1.0], [0.95, 0.1]])
      0.75
    """
    bank = check_features("train_features", train_features)
    inside = check_features("features", features, width=bank.shape[1])
    outside = check_features("outlier_features", outlier_features, width=bank.shape[1])
    near = functools.partial(_kth_cosine, bank=near_unit(bank), k=min(check_count("k", k), len(bank)))
    # The larger the cosine, the smaller the distance.
    found, cosines = np.asarray(near(near_unit(outside))), np.sort(near(near_unit(inside)))
    larger, as_large = (len(cosines) - np.searchsorted(cosines, found, side) for side in ("right", "left"))
    return float(np.mean(larger + as_large) / (2 * len(cosines)))


@functools.partial(jax.jit, static_argnames="k")
def _kth_cosine(queries: jax.Array, bank: jax.Array, *, k: int) -> jax.Array:
    """Of each query, with the k-th nearest row of the bank: [m]."""
    bank = unit(bank)

    def one(query: jax.Array) -> jax.Array:
        cosines = jnp.matmul(bank, unit(query), precision=lax.Precision.HIGHEST)
        return lax.top_k(cosines, k)[0][-1]

    return lax.map(one, queries, batch_size=256)  # in blocks, as votes are
