"""Which rows form pairs, how similar they are, and how a large set of rows is taken in blocks."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

T = TypeVar("T")
U = TypeVar("U")


class Rows(NamedTuple):
    """Embeddings with what decides their pairs.

    Attributes:
      embeddings: floating [m, d]; zeros in rows that are not live.
      labels: integer [m].
      live: bool [m], False for rows that take part in no pair.
      position: int32 [m], place of the row in the whole batch; tells a row from its copy among the columns.
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
    # Stated, because the default on TPU and recent GPUs rounds float32 inputs to fewer bits: at temperature 0.1 an
    # error of 1e-3 in s is an error of 1 % in exp(s / t).
    return jnp.matmul(rows.embeddings, columns.embeddings.T, precision=lax.Precision.HIGHEST)


def map_row_blocks(function: Callable[[T], U], rows: T, block_size: int | None) -> U:
    """Apply `function` to blocks of rows, one after the other, and join the results.

    Args:
      function: maps a tree of arrays [block_size, ...] to a tree of arrays [block_size, ...]. Rows of zeros, added to
        fill the last block, must not disturb it; their results are dropped.
      rows: tree of arrays [m, ...].
      block_size: rows in a block; None takes all rows at once.
    """
    count = jax.tree.leaves(rows)[0].shape[0]
    if block_size is None or block_size >= count:
        return function(rows)
    blocks = -(-count // block_size)
    padding = blocks * block_size - count

    def split(x: jax.Array) -> jax.Array:
        padded = jnp.pad(x, [(0, padding)] + [(0, 0)] * (x.ndim - 1))
        return padded.reshape(blocks, block_size, *x.shape[1:])

    results = lax.map(function, jax.tree.map(split, rows))
    return jax.tree.map(lambda x: x.reshape(blocks * block_size, *x.shape[2:])[:count], results)
