"""Third piece of the engine: one loss for all faces, its cotangents, and the exchange between devices."""

import functools
from collections.abc import Hashable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tcl_jax.losses.gradient import Anchors, row_gradients
from tcl_jax.losses.pairs import Rows, map_row_blocks
from tcl_jax.losses.statistics import Coefficients, RowStatistics, anchor_losses, row_statistics


class Form(NamedTuple):
    """What of a loss is fixed when it is compiled."""

    axis_name: Hashable | None
    block_size: int | None
    reduction: str


class _Residuals(NamedTuple):
    columns: Rows
    rows: Rows
    weights: jax.Array
    coefficients: Coefficients
    statistics: RowStatistics
    losses: jax.Array
    mean: jax.Array
    total_weight: jax.Array


@functools.partial(jax.jit, static_argnums=0)
def contrastive_loss(
    form: Form,
    embeddings: jax.Array,
    labels: jax.Array,
    weights: jax.Array,
    temperature: jax.Array,
    k1: jax.Array,
    k2: jax.Array,
) -> jax.Array:
    """The loss of all three faces; arguments are checked and of one floating dtype (but the embeddings)."""
    weights = weights.astype(_compute_dtype(embeddings))
    coefficients = Coefficients(*(x.astype(weights.dtype) for x in (temperature, k1, k2)))
    if form.axis_name is not None:
        # Replicated inputs become device-varying here, outside the custom derivative. The derivative may then be this
        # device's part alone; autodiff under shard_map, or the caller's psum under pmap, adds the parts up once.
        varying_zero = (0 * lax.axis_index(form.axis_name)).astype(weights.dtype)
        weights, coefficients = jax.tree.map(lambda x: x + varying_zero, (weights, coefficients))
    return _loss(form, embeddings, labels, weights, coefficients)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _loss(
    form: Form, embeddings: jax.Array, labels: jax.Array, weights: jax.Array, coefficients: Coefficients
):
    return _forward(form, embeddings, labels, weights, coefficients)[0]


def _forward(
    form: Form, embeddings: jax.Array, labels: jax.Array, weights: jax.Array, coefficients: Coefficients
) -> tuple[jax.Array, tuple[_Residuals, jax.Array]]:
    rows = _rows(form, embeddings, labels, weights)
    columns = _gather(rows, form.axis_name)
    statistics = map_row_blocks(
        lambda block: row_statistics(block, columns, coefficients), rows, form.block_size
    )
    losses = anchor_losses(statistics, coefficients)

    counted_weights = jnp.where(statistics.num_positives > 0, weights, 0.0)
    total_weight = _sum_over_devices(jnp.sum(counted_weights), form.axis_name)
    total_loss = _sum_over_devices(jnp.sum(counted_weights * losses), form.axis_name)
    mean = total_loss / jnp.where(total_weight > 0, total_weight, 1.0)
    residuals = _Residuals(columns, rows, weights, coefficients, statistics, losses, mean, total_weight)
    empty = jnp.zeros((0,), embeddings.dtype)  # carries the dtype that the cotangent must have
    return (mean if form.reduction == "mean" else losses), (residuals, empty)


def _backward(form: Form, saved: tuple[_Residuals, jax.Array], cotangent: jax.Array):
    residuals, empty = saved
    statistics, weights, coefficients = residuals.statistics, residuals.weights, residuals.coefficients
    counts = statistics.num_positives > 0
    if form.reduction == "mean":
        scale = cotangent / jnp.where(residuals.total_weight > 0, residuals.total_weight, 1.0)
        share = jnp.where(counts, scale * weights, 0.0)
        by_weights = jnp.where(counts, scale * (residuals.losses - residuals.mean), 0.0)
    else:
        share = jnp.where(counts, cotangent, 0.0)
        by_weights = jnp.zeros_like(weights)

    anchors = Anchors(
        rows=residuals.rows,
        log_scale=statistics.log_scale,
        share_per_denominator=share / jnp.where(counts, statistics.scaled_denominator, 1.0),
        share_per_positive=share / jnp.where(counts, statistics.num_positives, 1.0),
    )
    numbers = _gather(anchors[1:], form.axis_name)
    columns = Anchors(residuals.columns, *numbers)
    gradients = map_row_blocks(
        lambda block: row_gradients(block, columns, coefficients), anchors, form.block_size
    )
    by_coefficients = Coefficients(gradients.temperature.sum(), gradients.k1.sum(), gradients.k2.sum())
    return gradients.embeddings.astype(empty.dtype), None, by_weights, by_coefficients


_loss.defvjp(_forward, _backward)


def _compute_dtype(embeddings: jax.Array) -> jnp.dtype:
    return jnp.promote_types(embeddings.dtype, jnp.float32)


def _rows(form: Form, embeddings: jax.Array, labels: jax.Array, weights: jax.Array) -> Rows:
    live = weights > 0
    count = embeddings.shape[0]
    first = 0 if form.axis_name is None else lax.axis_index(form.axis_name) * count
    # A row of weight 0 is as good as removed, whatever stands in it: NaN times 0 would still be NaN.
    cleaned = jnp.where(live[:, None], embeddings.astype(_compute_dtype(embeddings)), 0.0)
    return Rows(cleaned, labels, live, first + jnp.arange(count, dtype=jnp.int32))


def _gather(tree: Any, axis_name: Hashable | None) -> Any:
    """Rows of all devices in the order of the devices, on each of them."""
    if axis_name is None:
        return tree
    return jax.tree.map(lambda x: lax.all_gather(x, axis_name, tiled=True), tree)


def _sum_over_devices(x: jax.Array, axis_name: Hashable | None) -> jax.Array:
    return x if axis_name is None else lax.psum(x, axis_name)
