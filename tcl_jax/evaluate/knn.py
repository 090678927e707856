"""Weighted nearest neighbours in feature space."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from tcl_jax.evaluate.arguments import check_above_zero, check_count, check_features, check_labels

if TYPE_CHECKING:
    from jaxtyping import ArrayLike, Float, Int32, Integer


def knn_predict(
    queries: Float[ArrayLike, "m f"],
    bank: Float[ArrayLike, "n f"],
    bank_labels: Integer[ArrayLike, " n"],
    *,
    num_classes: int,
    k: int = 20,
    temperature: float = 0.07,
) -> Int32[np.ndarray, " m"]:
    """Class of each query by the votes of its nearest neighbours among the rows of `bank`.

        score_c = sum over the k nearest neighbours j of class c of exp(s_j / temperature),   s_j their cosine

    Args:
      queries: floating [m, f], of any length.
      bank: floating [n, f], of any length; where n < k, all rows vote.
      bank_labels: integer [n], 0 to num_classes - 1.
      num_classes, k: 1 or more.
      temperature: above 0.

    Returns:
      int32 [m]. A tie goes to the smaller class number.

    Raises:
      ValueError: an argument has another form, or features that are not finite.

    References:
      Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination, CVPR 2018, Sec. 3.4.
    """
    scores = knn_scores(queries, bank, bank_labels, num_classes=num_classes, k=k, temperature=temperature)
    return np.argmax(scores, axis=1).astype(np.int32)


def knn_scores(
    queries: Float[ArrayLike, "m f"],
    bank: Float[ArrayLike, "n f"],
    bank_labels: Integer[ArrayLike, " n"],
    *,
    num_classes: int,
    k: int = 20,
    temperature: float = 0.07,
) -> Float[np.ndarray, "m {num_classes}"]:
    """The scores of which `knn_predict` takes the largest; arguments and errors are those of it.

    Returns:
      floating [m, num_classes], each row divided by the vote of the nearest neighbour.
    """
    num_classes, k = check_count("num_classes", num_classes), check_count("k", k)
    temperature = check_above_zero("temperature", temperature)
    rows = check_features("bank", bank)
    labels = check_labels("bank_labels", bank_labels, num_classes=num_classes, rows=len(rows))
    asked = check_features("queries", queries, width=rows.shape[1])
    vote = functools.partial(_vote, num_classes=num_classes, k=min(k, len(rows)))
    return np.asarray(vote(near_unit(asked), near_unit(rows), jnp.asarray(labels), temperature))


def near_unit(rows: np.ndarray) -> jax.Array:
    """Rows divided by powers of two, which changes no digit, so that no square leaves the range of float32."""
    _, exponents = np.frexp(np.abs(rows).max(axis=1, keepdims=True))
    return jnp.asarray(np.ldexp(rows, -exponents))


@functools.partial(jax.jit, static_argnames=("num_classes", "k"))
def _vote(
    queries: jax.Array, bank: jax.Array, labels: jax.Array, temperature: float, *, num_classes: int, k: int
) -> jax.Array:
    bank = unit(bank)

    def one(query: jax.Array) -> jax.Array:
        cosines = jnp.matmul(bank, unit(query), precision=lax.Precision.HIGHEST)
        nearest, where = lax.top_k(cosines, k)
        # Shifted by the largest, which changes no order of the scores and keeps exp in range.
        votes = jnp.exp((nearest - nearest[0]) / temperature)
        return jnp.zeros(num_classes, votes.dtype).at[labels[where]].add(votes)

    # Queries in blocks: all cosines of CIFAR's size at once would take 2 GB.
    return lax.map(one, queries, batch_size=256)


def unit(rows: jax.Array) -> jax.Array:
    return rows / jnp.maximum(jnp.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
