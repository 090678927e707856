"""The rows of one loss as the passes over their pairs want them, and the passes themselves."""

import functools
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from tcl_jax.losses.pairs import Rows
from tcl_jax.losses.statistics import Coefficients, RowStatistics, merge, nothing, tile_statistics
from tcl_jax.losses.tiles import Kind, Layout, class_order, fold_tiles, make_layout, negative_tiles

T = TypeVar("T")


class Split(NamedTuple):
    """How the pairs are divided: over the devices of a mapped axis, and into tiles. Fixed when it is compiled."""

    axis_name: Hashable | None
    block_size: int | None

    def layout(self, count: int) -> Layout:
        """Tiles for `count` rows on each device."""
        num_devices = 1 if self.axis_name is None else lax.axis_size(self.axis_name)
        return make_layout(count, num_devices, self.block_size)


class Batch(NamedTuple):
    """This device's rows, sorted by class and padded to whole tiles, with the columns that they meet.

    Attributes:
      rows, weights: [m, ...].
      columns: [n, ...], the rows of all devices.
      order: int32 [count], where the caller has each of the first `count` rows.
      negative: from `negative_tiles`.
    """

    rows: Rows
    weights: jax.Array
    columns: Rows
    order: jax.Array
    negative: jax.Array


def make_batch(split: Split, embeddings: jax.Array, labels: jax.Array, weights: jax.Array) -> Batch:
    """Rows in the dtype of weights, gathered from all devices."""
    layout, live = split.layout(len(labels)), weights > 0
    order = class_order(labels, live)
    # A row of weight 0 is as good as removed, whatever stands in it: NaN times 0 would still be NaN.
    cleaned = jnp.where(live[:, None], embeddings.astype(weights.dtype), 0.0)
    cleaned, labels, live, weights = (_arrange(x, order, layout) for x in (cleaned, labels, live, weights))
    first = 0 if split.axis_name is None else lax.axis_index(split.axis_name) * layout.rows
    rows = Rows(cleaned, labels, live, first + jnp.arange(layout.rows, dtype=jnp.int32))
    columns = gather(rows, split.axis_name)
    return Batch(rows, weights, columns, order, negative_tiles(rows, columns, layout))


def fold_pairs(
    split: Split,
    batch: Batch,
    tile: Callable[[Any, Any, Kind], tuple[Any, Any]],
    merge: Callable[[T, T], T],
    rows: Any,
    columns: Any,
    *,
    start: T,
    mirrored: bool = True,
    transposed_columns: bool = False,
) -> T:
    """Visit all pairs of this device's rows, and merge what they give for each row.

    Args:
      tile, merge: as for `fold_tiles`.
      rows, columns: trees of arrays that begin with those of `batch`.
      start: the result for layout.row_size rows before any pair is visited.
      mirrored: whether the tile can give results for its columns, too.
      transposed_columns: a tile's result for its columns is the transpose of its result for its rows.
    """
    layout = split.layout(len(batch.order))
    if layout.single:  # a small batch, or the dense form
        return tile(rows, columns, Kind(mixed=True, mirrored=False))[0]
    mirrored = mirrored and layout.rows == layout.columns  # on one device the columns are the rows
    column_start = jax.tree.map(jnp.transpose, start) if transposed_columns else start
    of_rows, of_columns = fold_tiles(
        tile,
        merge,
        rows,
        columns,
        negative=batch.negative,
        row_start=start,
        column_start=column_start if mirrored else None,
        layout=layout,
    )
    if of_columns is not None:
        if transposed_columns:
            of_columns = jax.tree.map(lambda x: jnp.swapaxes(x, 1, 2), of_columns)
        of_rows = merge(of_rows, of_columns)
    return jax.tree.map(lambda x: x.reshape(layout.rows, *x.shape[2:]), of_rows)


def batch_statistics(split: Split, batch: Batch, coefficients: Coefficients) -> RowStatistics:
    """Statistics of this device's rows against all columns."""
    return fold_pairs(
        split,
        batch,
        functools.partial(tile_statistics, coefficients),
        functools.partial(merge, coefficients),
        batch.rows,
        batch.columns,
        start=nothing(split.layout(len(batch.order)).row_size, batch.weights.dtype),
    )


def as_rows(x: jax.Array, split: Split, batch: Batch) -> jax.Array:
    """From the order of the caller to that of the batch, with zeros as its padding."""
    return _arrange(x, batch.order, split.layout(len(batch.order)))


def as_given(x: jax.Array, batch: Batch) -> jax.Array:
    """From the order of the batch to that of the caller, without the padding."""
    given = x[: len(batch.order)]
    return jnp.zeros_like(given).at[batch.order].set(given, unique_indices=True)


def gather(tree: Any, axis_name: Hashable | None) -> Any:
    """Rows of all devices in the order of the devices, on each of them."""
    if axis_name is None:
        return tree
    return jax.tree.map(lambda x: lax.all_gather(x, axis_name, tiled=True), tree)


def sum_over_devices(x: jax.Array, axis_name: Hashable | None) -> jax.Array:
    """Sum over the mapped axis, if there is one."""
    return x if axis_name is None else lax.psum(x, axis_name)


def varying_alike(inputs: T, axis_name: Hashable | None) -> T:
    """The same arrays, each varying over every mesh axis of shard_map that one of them, or axis_name, varies over."""

    def zero(x: jax.Array) -> jax.Array:
        first = x.reshape(-1)[0]
        return ((first == first) & False).astype(
            jnp.int32
        )  # also where x holds NaN; XLA leaves nothing of it

    of_all = sum((zero(x) for x in jax.tree.leaves(inputs)), start=jnp.int32(0))
    if axis_name is not None:
        of_all += zero(lax.axis_index(axis_name))
    return jax.tree.map(lambda x: x + of_all.astype(x.dtype), inputs)


def _arrange(x: jax.Array, order: jax.Array, layout: Layout) -> jax.Array:
    return jnp.pad(x[order], [(0, layout.rows - len(order))] + [(0, 0)] * (x.ndim - 1))
