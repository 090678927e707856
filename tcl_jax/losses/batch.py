"""The rows of one loss as the passes over their pairs want them, and the passes themselves."""

import functools
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax

from tcl_jax.losses.pairs import Anchors, Rows
from tcl_jax.losses.tiles import Kind, class_order, fold_tiles, make_layout, negative_tiles, padded

T = TypeVar("T")


class Split(NamedTuple):
    """How the pairs are divided: over the devices of a mapped axis, and into tiles. Fixed when it is compiled."""

    axis_name: Hashable | None
    block_size: int | None

    @property
    def num_devices(self) -> int:
        """Devices of the axis; only where it is mapped."""
        return 1 if self.axis_name is None else lax.psum(1, self.axis_name)


class Batch(NamedTuple):
    """This device's rows, sorted by class where that is of use and padded to whole tiles, and those of all devices.

    Attributes:
      rows: [m, ...].
      columns: [n, ...], the rows of all devices.
      order: int32 [count], where the caller has each of the first `count` rows.
    """

    rows: Rows
    columns: Rows
    order: jax.Array


class Part(NamedTuple):
    """Results for a set of anchors from some of their pairs.

    Attributes:
      of: the number of the set.
      result: a tree of arrays [m, ...].
      share: the sum over parts of share * sum over anchors meets every pair of the loss once.
    """

    of: int
    result: Any
    share: float


def make_batch(
    split: Split,
    embeddings: jax.Array,
    labels: jax.Array,
    live: jax.Array,
    left_out: jax.Array | None = None,
    *,
    dtype: jnp.dtype,
    is_anchor: bool = True,
) -> Batch:
    """Rows in the dtype of the computation, gathered from all devices; only anchors have a position."""
    count = len(labels)
    order = jnp.arange(count, dtype=jnp.int32)
    if split.block_size is not None and count > split.block_size and labels.ndim == 1 and left_out is None:
        order = class_order(labels, live)
    # A row of weight 0 is as good as removed, whatever stands in it: NaN times 0 would still be NaN.
    cleaned = jnp.where(live[:, None], embeddings.astype(dtype), 0.0)
    labels, live, left_out, cleaned = arrange((labels, live, left_out, cleaned), order, split)
    position = jnp.full(len(live), -1, jnp.int32)
    if is_anchor:
        first = 0 if split.axis_name is None else lax.axis_index(split.axis_name) * len(live)
        position = first + jnp.arange(len(live), dtype=jnp.int32)
    rows = Rows(cleaned, labels, live, position, left_out)
    return Batch(rows, gather(rows, split.axis_name), order)


def fold_pairs(
    split: Split,
    batches: tuple[Batch, ...],
    references: Batch | None,
    tile: Callable[[Anchors, Anchors, Kind], tuple[Any, Any]],
    merge: Callable[[T, T], T],
    numbers: tuple[Any, ...],
    *,
    empty: Callable[[int], T],
    mirrored: bool = True,
    transposed: bool = False,
) -> list[Part]:
    """Visit all pairs of this device's anchors, and merge what they give for each anchor.

    Args:
      batches: one set of anchors, which meet each other, or two, the anchors of which meet those of the other.
      references: further columns for the anchors of a single set.
      tile, merge: as for `fold_tiles`, of blocks of `Anchors`.
      numbers: what is known of the anchors of each set.
      empty: number of rows -> the result for them before any pair is visited.
      mirrored: whether the tile can give results for its columns, too.
      transposed: a tile's result for its columns is the transpose of its result for its rows.
    """
    anchors = [Anchors(batch.rows, known) for batch, known in zip(batches, numbers, strict=True)]
    columns = [
        Anchors(batch.columns, gather(known, split.axis_name))
        for batch, known in zip(batches, numbers, strict=True)
    ]
    # On one device the columns are anchors of this device.
    mirrored = mirrored and split.num_devices == 1

    visit = functools.partial(_visit, split, tile, merge, empty, transposed=transposed)
    if len(batches) == 2:
        ours, theirs = visit(anchors[0], columns[1], same=False, mirrored=mirrored)
        if not mirrored:
            theirs, _ = visit(anchors[1], columns[0], same=False, mirrored=False)
        return [Part(0, ours, 1.0), Part(1, theirs, 0.0)]
    ours, theirs = visit(anchors[0], columns[0], same=True, mirrored=mirrored)
    parts = [Part(0, ours if theirs is None else merge(ours, theirs), 0.5)]
    if references is not None:
        result, _ = visit(anchors[0], Anchors(references.columns, None), same=False, mirrored=False)
        parts.append(Part(0, result, 1.0))
    return parts


def _visit(
    split: Split,
    tile: Callable[[Anchors, Anchors, Kind], tuple[Any, Any]],
    merge: Callable[[T, T], T],
    empty: Callable[[int], T],
    rows: Anchors,
    columns: Anchors,
    *,
    same: bool,
    mirrored: bool,
    transposed: bool,
) -> tuple[T, T | None]:
    """Results for rows, and for columns where there are any and they are not found with the rows."""
    count, num_devices = len(rows.rows.live), split.num_devices
    layout = make_layout(count, len(columns.rows.live) // num_devices, num_devices, split.block_size)
    if layout.single:  # a small batch, or the dense form
        kind = Kind(mixed=True, mirrored=mirrored and not same)
        ours, theirs = tile(rows, columns, kind)
        if theirs is not None and transposed:
            theirs = jax.tree.map(jnp.transpose, theirs)
        return ours, theirs
    column_start = empty(layout.column_size) if mirrored and (transposed or not same) else None
    if transposed:
        column_start = jax.tree.map(jnp.transpose, column_start)
    several_blocks = layout.rows > layout.row_size  # otherwise rows are not sorted
    ours, theirs = fold_tiles(
        tile,
        merge,
        rows,
        columns,
        negative=negative_tiles(rows.rows, columns.rows, layout) if several_blocks else None,
        row_start=empty(layout.row_size),
        column_start=column_start,
        same=same,
        mirrored=mirrored,
        layout=layout,
    )
    if theirs is not None:
        if transposed:
            theirs = jax.tree.map(lambda x: jnp.swapaxes(x, 1, 2), theirs)
        theirs = jax.tree.map(lambda x: x.reshape(layout.columns, *x.shape[2:]), theirs)
    return jax.tree.map(lambda x: x.reshape(layout.rows, *x.shape[2:]), ours), theirs


def arrange(tree: T, order: jax.Array, split: Split) -> T:
    """From the order of the caller to that of the batch, with zeros as its padding."""
    more = padded(len(order), split.block_size) - len(order)
    return jax.tree.map(lambda x: jnp.pad(x[order], [(0, more)] + [(0, 0)] * (x.ndim - 1)), tree)


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
