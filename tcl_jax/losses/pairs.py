"""Which rows form pairs, and how similar they are."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class Rows(NamedTuple):
    """Embeddings with what decides their pairs.

    Attributes:
      embeddings: floating [m, d]; zeros in rows that are not live.
      labels: integer [m], or floating [m, c] for soft labels.
      live: bool [m], False for rows that take part in no pair.
      position: int32 [m], place of an anchor in the whole batch: equal for a row and its copy among the columns. -1 for
        rows that are never a copy of an anchor: the other tower, references.
      left_out: int32 [m], or None where no pair is left out.
    """

    embeddings: jax.Array
    labels: jax.Array
    live: jax.Array
    position: jax.Array
    left_out: jax.Array | None


class Anchors(NamedTuple):
    """Rows with what is known of each as an anchor: a tree of arrays [m]; None for rows that are not anchors."""

    rows: Rows
    numbers: Any


class Pairs(NamedTuple):
    """How far column j is a positive of anchor i, p_ij, and how far a negative, q_ij: [m, n] each.

    Masks for classes, floating for soft labels; both 0 where two rows are not a pair. None and None: every pair is
    a negative one.
    """

    positive: jax.Array | None
    negative: jax.Array | None


def find_pairs(rows: Rows, columns: Rows) -> Pairs:
    """The pairs of each of `rows` with each of `columns`."""
    pair = rows.live[:, None] & columns.live[None, :]
    if rows.left_out is not None and columns.left_out is not None:
        ids = rows.left_out[:, None]
        pair &= (ids != columns.left_out[None, :]) | (ids < 0)
    itself = rows.position[:, None] == columns.position[None, :]
    if rows.labels.ndim == 1:
        same_class = rows.labels[:, None] == columns.labels[None, :]
        return Pairs(pair & same_class & ~itself, pair & ~same_class)
    pair &= ~itself
    positive = product(rows.labels, columns.labels.T)
    # What rounding leaves of 1 - 1 is nothing, or where exp(s / t) is large it would make a negative of a positive.
    rest = 1.0 - positive
    negative = jnp.where(rest > 16.0 * jnp.finfo(rest.dtype).eps, rest, 0.0)
    return Pairs(jnp.where(pair, positive, 0.0), jnp.where(pair, negative, 0.0))


def weighted(weights: jax.Array | None, x: jax.Array) -> jax.Array:
    """weights * x; 0 where a weight is 0, whatever x is there."""
    if weights is None:
        return x
    return jnp.where(weights, x, 0.0) if weights.dtype == bool else jnp.where(weights > 0, weights * x, 0.0)


def similarities(rows: Rows, columns: Rows) -> jax.Array:
    """Inner products s_ij = z_i . z_j, [m, n]."""
    return product(rows.embeddings, columns.embeddings.T)


def product(left: jax.Array, right: jax.Array) -> jax.Array:
    """Matrix product in the full precision of its dtype."""
    # Stated, because the default on TPU and recent GPUs rounds float32 inputs to fewer bits: at temperature 0.1 an
    # error of 1e-3 in s is an error of 1 % in exp(s / t).
    return jnp.matmul(left, right, precision=lax.Precision.HIGHEST)
