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


def make_layout(rows: int, columns: int, num_devices: int, wanted: int | None) -> Layout:
    """Tiles of wanted x wanted at most, for counts on each device that `padded` gives; None: a single tile."""
    if wanted is None:
        return Layout(rows, columns * num_devices, rows, columns * num_devices)
    # Columns are taken in whole blocks of a device, or in those of several devices if they are small.
    together = max(
        k for k in range(1, num_devices + 1) if k == 1 or (num_devices % k == 0 and k * columns <= wanted)
    )
    return Layout(_size(rows, wanted), _size(columns, wanted) * together, rows, columns * num_devices)


def padded(count: int, wanted: int | None) -> int:
    """The fewest rows, not less than `count`, that make equal blocks of at most `wanted`; None: a single block."""
    return count if wanted is None else _size(count, wanted) * max(1, -(-count // wanted))


def _size(count: int, wanted: int) -> int:
    return -(-count // max(1, -(-count // wanted)))


def class_order(labels: jax.Array, live: jax.Array) -> jax.Array:
    """Indices that sort rows by class, those that are not live last: int32 [n]."""
    return jnp.lexsort((labels, ~live)).astype(jnp.int32)


def negative_tiles(rows: Rows, columns: Rows, layout: Layout) -> jax.Array | None:
    """Which tiles hold negative pairs of live rows alone: bool [row blocks, column blocks].

    None where that is not known: with soft labels, or where pairs are left out.
    """
    if rows.labels.ndim > 1 or rows.left_out is not None:
        return None

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
    negative: jax.Array | None,
    row_start: T,
    column_start: T | None,
    same: bool,
    layout: Layout,
) -> tuple[T, T | None]:
    """Visit the tiles of all pairs and merge their results, for rows and, if they are wanted, columns.

    Args:
      tile: (block of rows, block of columns, kind) -> (result for the rows, result for the columns); the second is
        None unless kind.mirrored.
      merge: joins the results of two tiles for the same block.
      rows, columns: trees of arrays [layout.rows, ...] and [layout.columns, ...].
      negative: from `negative_tiles`.
      row_start: the result for a block of rows before any tile is visited.
      column_start: the same for columns; None where results are wanted for rows alone.
      same: columns are the rows themselves. Where they have results, only tiles on and above the diagonal are visited.

    Returns:
      The merged results: trees with a leading axis of blocks; the second is None where column_start is.
    """
    mirrored = column_start is not None
    row_blocks = jax.tree.map(lambda x: x.reshape(-1, layout.row_size, *x.shape[1:]), rows)
    column_blocks = jax.tree.map(lambda x: x.reshape(-1, layout.column_size, *x.shape[1:]), columns)
    blocks = layout.rows // layout.row_size, layout.columns // layout.column_size
    schedule = np.argwhere(np.triu(np.ones(blocks)) if mirrored and same else np.ones(blocks))
    like = jax.tree.leaves(rows)[0].reshape(-1)[0]

    def varying(tree: Any) -> Any:
        """The same, as something that shard_map lets differ from device to device, as the results of tiles do."""
        return jax.tree.map(lambda x: x + ((like == like) & False).astype(x.dtype), tree)

    def every_block(start: Any, count: int) -> Any:
        return varying(jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), start))

    def visit(known: tuple[Any, Any], place: jax.Array) -> tuple[tuple[Any, Any], None]:
        i, j = place
        block, against = _take(row_blocks, i), _take(column_blocks, j)
        mixed, negatives = (lambda a, b, k=k: varying(tile(a, b, Kind(k, mirrored))) for k in (True, False))
        if negative is None:
            ours, theirs = mixed(block, against)
        else:
            ours, theirs = lax.cond(negative[i, j], negatives, mixed, block, against)
        of_rows, of_columns = known
        of_rows = _put(of_rows, i, merge(_take(of_rows, i), ours))
        if mirrored:
            if same:  # on the diagonal the rows have met every column already
                theirs = jax.tree.map(lambda nothing, x: jnp.where(i == j, nothing, x), column_start, theirs)
            of_columns = _put(of_columns, j, merge(_take(of_columns, j), theirs))
        return (of_rows, of_columns), None

    start = every_block(row_start, blocks[0])
    of_columns = every_block(column_start, blocks[1]) if mirrored else None
    known, _ = lax.scan(visit, (start, of_columns), jnp.asarray(schedule, jnp.int32))
    return known


def _take(tree: T, index: jax.Array) -> T:
    return jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, index, keepdims=False), tree)


def _put(tree: T, index: jax.Array, values: T) -> T:
    return jax.tree.map(lambda x, v: lax.dynamic_update_index_in_dim(x, v, index, 0), tree, values)
