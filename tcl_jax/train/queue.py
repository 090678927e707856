"""The queue: projections of past batches, which the loss meets as further columns."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

EMPTY = -1
"""The label in place of a row that is not there yet."""
NOT_COUNTED = -2
"""The label of a row that is not of an image."""


class Queue(NamedTuple):
    """The newest m rows, whole batches of them, the oldest first; each batch in its own order, view by view.

    Attributes:
      embeddings: float [m, d].
      labels: int32 [m], 0 or more; `EMPTY` where there is no row yet, and `NOT_COUNTED`.
    """

    embeddings: jax.Array
    labels: jax.Array

    @property
    def references(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Embeddings [m, d], labels [m] and weights [m] for the loss; all weights are 0 until the queue is filled."""
        counts = (self.labels[0] != EMPTY) & (self.labels != NOT_COUNTED)
        return self.embeddings, self.labels, counts.astype(self.embeddings.dtype)

    def push(self, rows: jax.Array, labels: jax.Array) -> "Queue":
        """The queue with the rows of a batch [n, d] in place of the oldest n."""
        keep = len(rows)
        return Queue(
            jnp.concatenate([self.embeddings[keep:], rows.astype(self.embeddings.dtype)]),
            jnp.concatenate([self.labels[keep:], labels.astype(self.labels.dtype)]),
        )


def empty_queue(size: int, row: Any) -> Queue:
    """A queue for `size` rows.

    Args:
      row: an array or `jax.ShapeDtypeStruct` [..., d] of the dtype of the rows.
    """
    return Queue(jnp.zeros((size, row.shape[-1]), row.dtype), jnp.full((size,), EMPTY, jnp.int32))
