"""Which rows form pairs, and how similar they are."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class Rows(NamedTuple):
    """Embeddings with what decides their pairs.

    Attributes:
      embeddings: floating [m, d]; zeros in rows that are not live.
      labels: integer [m].
      live: bool [m], False for rows that take part in no pair.
      position: int32 [m], place of the row in the whole batch: equal for a row and its copy among the columns.
    """

    embeddings: jax.Array
    labels: jax.Array
    live: jax.Array
    position: jax.Array


def pair_masks(rows: Rows, columns: Rows) -> tuple[jax.Array, jax.Array]:
    """Masks of positive and of negative pairs, bool [m, n] each: j in P(i), j in N(i)."""
    live = rows.live[:, None] & columns.live[None, :]
    same_class = rows.labels[:, None] == columns.labels[None, :]
    itself = rows.position[:, None] == columns.position[None, :]
    return live & same_class & ~itself, live & ~same_class


def similarities(rows: Rows, columns: Rows) -> jax.Array:
    """Inner products s_ij = z_i . z_j, [m, n]."""
    return product(rows.embeddings, columns.embeddings.T)


def product(left: jax.Array, right: jax.Array) -> jax.Array:
    """Matrix product in the full precision of its dtype."""
    # Stated, because the default on TPU and recent GPUs rounds float32 inputs to fewer bits: at temperature 0.1 an
    # error of 1e-3 in s is an error of 1 % in exp(s / t).
    return jnp.matmul(left, right, precision=lax.Precision.HIGHEST)
