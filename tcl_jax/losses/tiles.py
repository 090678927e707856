"""The n x n pairs in tiles, one after the other, so that nothing of size n x n is ever stored.

Rows are sorted by class first. Most tiles then hold no positive pair at all, and are visited in a simpler form: no
masks, no terms of positives.

Where rows and columns are the same set, s_ij = s_ji: a tile is visited once for (i, j) and (j, i) together, which
halves the products.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tcl_jax.losses.pairs import Rows

T = TypeVar("T")


class Kind(NamedTuple):
    """What is known of a tile when it is compiled.

    Attributes:
      mixed: it may hold positive pairs and rows that are not live; otherwise negative pairs of live rows alone.
      mirrored: its results are wanted for its columns as anchors, too.
    """

    mixed: bool
    mirrored: bool


class Layout(NamedTuple):
    """Sizes of a tile and of the padded batch: `rows` of this device against the `columns` of all devices."""

    row_size: int
    column_size: int
    rows: int
    columns: int

    @property
    def single(self) -> bool:
        """Whether one tile holds all pairs."""
        return (self.row_size, self.column_size) == (self.rows, self.columns)


def make_layout(count: int, num_devices: int, wanted: int | None) -> Layout:
    """The fewest equal tiles, no larger than wanted x wanted, for `count` rows on each device; None: a single one."""
    if wanted is None:
        return Layout(count, count * num_devices, count, count * num_devices)
    blocks = max(1, -(-count // wanted))
    row_size = -(-count // blocks)
    # Columns are taken in whole blocks of rows, of several devices if they are small.
    together = max(
        k for k in range(1, num_devices + 1) if (num_devices % k == 0 and k * count <= wanted) or k == 1
    )
    column_size = row_size * blocks * together if together > 1 else row_size
    return Layout(row_size, column_size, row_size * blocks, row_size * blocks * num_devices)


def class_order(labels: jax.Array, live: jax.Array) -> jax.Array:
    """Indices that sort rows by class, those that are not live last: int32 [n]."""
    return jnp.lexsort((labels, ~live)).astype(jnp.int32)


def negative_tiles(rows: Rows, columns: Rows, layout: Layout) -> jax.Array:
    """Which tiles hold negative pairs of live rows alone: bool [row blocks, column blocks]."""

    def ranges(of: Rows, size: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        labels, live = of.labels.reshape(-1, size), of.live.reshape(-1, size)
        return jnp.min(labels, axis=1), jnp.max(labels, axis=1), jnp.all(live, axis=1)

    first, last, live = (x[:, None] for x in ranges(rows, layout.row_size))
    their_first, their_last, their_live = ranges(columns, layout.column_size)
    return ((last < their_first) | (their_last < first)) & live & their_live


def fold_tiles(
    tile: Callable[[Any, Any, Kind], tuple[Any, Any]],
    merge: Callable[[T, T], T],
    rows: Any,
    columns: Any,
    *,
    negative: jax.Array,
    row_start: T,
    column_start: T | None,
    layout: Layout,
) -> tuple[T, T | None]:
    """Visit the tiles of all pairs and merge their results, for rows and, if they are the same set, columns.

    Args:
      tile: (block of rows, block of columns, kind) -> (result for the rows, result for the columns); the second is
        None unless kind.mirrored.
      merge: joins the results of two tiles for the same block.
      rows, columns: trees of arrays [layout.rows, ...] and [layout.columns, ...].
      negative: from `negative_tiles`.
      row_start: the result for a block of rows before any tile is visited.
      column_start: the same for columns. None: every tile is visited, with results for its rows alone. Otherwise
        columns are the rows themselves, and only tiles on and above the diagonal are visited.

    Returns:
      The merged results: trees with a leading axis of blocks; the second is None where column_start is.
    """
    mirrored = column_start is not None
    row_blocks = jax.tree.map(lambda x: x.reshape(-1, layout.row_size, *x.shape[1:]), rows)
    column_blocks = jax.tree.map(lambda x: x.reshape(-1, layout.column_size, *x.shape[1:]), columns)
    schedule = np.argwhere(np.triu(np.ones(negative.shape)) if mirrored else np.ones(negative.shape))

    def varying(tree: Any) -> Any:
        """The same, as something that shard_map lets differ from device to device, as the results of tiles do."""
        return jax.tree.map(lambda x: x + (negative[0, 0] & False).astype(x.dtype), tree)

    def every_block(start: Any, count: int) -> Any:
        return varying(jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), start))

    def visit(known: tuple[Any, Any], place: jax.Array) -> tuple[tuple[Any, Any], None]:
        i, j = place
        ours, theirs = lax.cond(
            negative[i, j],
            lambda a, b: varying(tile(a, b, Kind(mixed=False, mirrored=mirrored))),
            lambda a, b: varying(tile(a, b, Kind(mixed=True, mirrored=mirrored))),
            _take(row_blocks, i),
            _take(column_blocks, j),
        )
        of_rows, of_columns = known
        of_rows = _put(of_rows, i, merge(_take(of_rows, i), ours))
        if mirrored:
            # On the diagonal the rows have met every column already.
            theirs = jax.tree.map(lambda nothing, x: jnp.where(i == j, nothing, x), column_start, theirs)
            of_columns = _put(of_columns, j, merge(_take(of_columns, j), theirs))
        return (of_rows, of_columns), None

    start = every_block(row_start, negative.shape[0])
    of_columns = every_block(column_start, negative.shape[1]) if mirrored else None
    known, _ = lax.scan(visit, (start, of_columns), jnp.asarray(schedule, jnp.int32))
    return known


def _take(tree: T, index: jax.Array) -> T:
    return jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, index, keepdims=False), tree)


def _put(tree: T, index: jax.Array, values: T) -> T:
    return jax.tree.map(lambda x, v: lax.dynamic_update_index_in_dim(x, v, index, 0), tree, values)
