"""Third piece of the engine: one loss for all faces, and its cotangents."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tcl_jax.losses.batch import (
    Batch,
    Split,
    as_given,
    as_rows,
    batch_statistics,
    fold_pairs,
    gather,
    make_batch,
    sum_over_devices,
    varying_alike,
)
from tcl_jax.losses.gradient import Anchors, coefficient_gradients, make_anchors, tile_gradient
from tcl_jax.losses.statistics import (
    Coefficients,
    RowStatistics,
    anchor_losses,
    denominators,
)


class Form(NamedTuple):
    """What of a loss is fixed when it is compiled."""

    split: Split
    reduction: str


class _Residuals(NamedTuple):
    batch: Batch
    coefficients: Coefficients
    statistics: RowStatistics
    losses: jax.Array
    mean: jax.Array
    total_weight: jax.Array


@functools.partial(jax.jit, static_argnums=0)
def contrastive_loss(
    form: Form, embeddings: jax.Array, labels: jax.Array, weights: jax.Array, coefficients: Coefficients
) -> jax.Array:
    """The loss of all three faces; weights and coefficients have the dtype of the computation."""
    # Outside the custom derivative, which may then be this device's part alone: autodiff, or the caller's psum under
    # pmap, adds the parts up once.
    inputs = varying_alike((embeddings, labels, weights, coefficients), form.split.axis_name)
    return _loss(form, *inputs)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _loss(
    form: Form, embeddings: jax.Array, labels: jax.Array, weights: jax.Array, coefficients: Coefficients
):
    return _forward(form, embeddings, labels, weights, coefficients)[0]


def _forward(
    form: Form, embeddings: jax.Array, labels: jax.Array, weights: jax.Array, coefficients: Coefficients
) -> tuple[jax.Array, tuple[_Residuals, jax.Array]]:
    batch = make_batch(form.split, embeddings, labels, weights)
    statistics = batch_statistics(form.split, batch, coefficients)
    losses = anchor_losses(statistics, coefficients)

    counted_weights = jnp.where(statistics.num_positives > 0, batch.weights, 0.0)
    total_weight = sum_over_devices(jnp.sum(counted_weights), form.split.axis_name)
    total_loss = sum_over_devices(jnp.sum(counted_weights * losses), form.split.axis_name)
    mean = total_loss / jnp.where(total_weight > 0, total_weight, 1.0)
    residuals = _Residuals(batch, coefficients, statistics, losses, mean, total_weight)
    empty = jnp.zeros((0,), embeddings.dtype)  # carries the dtype that the cotangent must have
    return (mean if form.reduction == "mean" else as_given(losses, batch)), (residuals, empty)


def _backward(form: Form, saved: tuple[_Residuals, jax.Array], cotangent: jax.Array):
    residuals, empty = _once_differentiable(saved)
    batch, coefficients, statistics = residuals.batch, residuals.coefficients, residuals.statistics
    counts = statistics.num_positives > 0
    if form.reduction == "mean":
        scale = cotangent / jnp.where(residuals.total_weight > 0, residuals.total_weight, 1.0)
        shares = jnp.where(counts, scale * batch.weights, 0.0)
        by_weights = jnp.where(counts, scale * (residuals.losses - residuals.mean), 0.0)
    else:
        shares = jnp.where(counts, as_rows(cotangent, form.split, batch), 0.0)
        by_weights = jnp.zeros_like(batch.weights)

    layout = form.split.layout(len(batch.order))
    denominator = denominators(statistics, coefficients)
    anchors = make_anchors(batch.rows, statistics, denominator, shares)
    by_rows = fold_pairs(
        form.split,
        batch,
        functools.partial(tile_gradient, coefficients),
        jnp.add,
        anchors,
        Anchors(batch.columns, *gather(anchors[1:], form.split.axis_name)),
        start=jnp.zeros_like(batch.rows.embeddings[: layout.row_size]),
        transposed_columns=True,
    )
    by_coefficients = coefficient_gradients(
        shares, statistics, denominator, coefficients, batch.rows, by_rows
    )
    return (
        as_given(by_rows, batch).astype(empty.dtype),
        None,
        as_given(by_weights, batch),
        by_coefficients,
    )


_loss.defvjp(_forward, _backward)


@jax.custom_jvp
def _once_differentiable(saved: Any) -> Any:
    """The same; autodiff of a gradient, which would find NaN in the unused branches of the tiles, ends here."""
    return saved


@_once_differentiable.defjvp
def _refuse(saved: Any, tangents: Any) -> Any:
    raise NotImplementedError(
        "The contrastive losses have first derivatives only, got a derivative of their gradient: differentiate the "
        "formula of `tcl_loss` written out with jax.numpy instead, which stores n x n arrays."
    )
