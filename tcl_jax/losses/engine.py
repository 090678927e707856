"""One loss for the whole family, and its cotangents.

With a_i the derivative of the result by the loss of anchor i (for the mean, its share of all anchors), and s_ij the
similarity of two rows that are both anchors,

    dL/dz_i = sum_j M_ij z_j,   M_ij = a_i dL_i/ds_ij + a_j dL_j/ds_ji

The first half of each sum is row i as an anchor, the second half row i as a pair of anchor j. Both need only numbers of
the rows, so each device finds the exact gradient of its own rows by itself. References have the first half alone.
"""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from tcl_jax.losses.batch import (
    Batch,
    Split,
    arrange,
    as_given,
    fold_pairs,
    make_batch,
    sum_over_devices,
    varying_alike,
)
from tcl_jax.losses.family import Family, Pass
from tcl_jax.losses.pairs import Anchors, Pairs, find_pairs, product, similarities
from tcl_jax.losses.tiles import Kind

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Integer, Real


class Form(NamedTuple):
    """What of a loss is fixed when it is compiled."""

    family: Family
    split: Split
    reduction: str


class Differentiable(NamedTuple):
    """What a loss has derivatives by.

    Attributes:
      embeddings: one array [n, d], the rows of which meet each other; or two, whose rows meet those of the other.
      weights: [n], in the dtype of the computation, as are the coefficients of the family.
    """

    embeddings: tuple[jax.Array, ...]
    weights: jax.Array
    coefficients: Any


class References(NamedTuple):
    """Further columns for every anchor, as of a queue: never anchors, without derivatives.

    Attributes:
      embeddings: floating [m, d], rows of unit length.
      labels: of the same kind as those of the rows: integer [m], or floating [m, c].
      weights: [m]; 0 for references that are not there, as in a queue that is not filled. By default all are.
      left_out: integer [m], as of the rows, which must then have them too. By default no reference is left out.
    """

    embeddings: Float[Array, "m d"]
    labels: Integer[Array, " m"] | Float[Array, "m c"]
    weights: Real[Array, " m"] | Bool[Array, " m"] | None = None
    left_out: Integer[Array, " m"] | None = None


class Fixed(NamedTuple):
    """The rest: labels, integer [n] or floating [n, c]; left_out, integer [n] or None; references or None."""

    labels: jax.Array
    left_out: jax.Array | None = None
    references: References | None = None


class _Residuals(NamedTuple):
    batches: tuple[Batch, ...]
    references: Batch | None
    weights: jax.Array
    coefficients: Any
    statistics: tuple[list[Any], ...]
    losses: jax.Array
    counts: jax.Array
    mean: jax.Array
    total_weight: jax.Array


@functools.partial(jax.jit, static_argnums=0)
def contrastive_loss(form: Form, given: Differentiable, fixed: Fixed) -> jax.Array:
    """The loss of any member of the family."""
    # Outside the custom derivative, which may then be this device's part alone: autodiff, or the caller's psum under
    # pmap, adds the parts up once.
    given, fixed = varying_alike((given, fixed), form.split.axis_name)
    return _loss(form, given, fixed)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _loss(form: Form, given: Differentiable, fixed: Fixed) -> jax.Array:
    return _forward(form, given, fixed)[0]


def _forward(form: Form, given: Differentiable, fixed: Fixed) -> tuple[jax.Array, tuple[_Residuals, Any]]:
    (family, split, reduction), dtype = form, given.weights.dtype
    live = given.weights > 0
    batches = tuple(
        make_batch(split, z, fixed.labels, live, fixed.left_out, dtype=dtype, is_anchor=number == 0)
        for number, z in enumerate(given.embeddings)
    )
    references = None
    if fixed.references is not None:
        z, labels, of_references, left_out = fixed.references
        present = jnp.ones(len(z), bool) if of_references is None else of_references > 0
        references = make_batch(split, z, labels, present, left_out, dtype=dtype, is_anchor=False)
    statistics = collect(family, split, batches, references, given.coefficients)
    of_sets = [family.losses(given.coefficients, of_set) for of_set in statistics]
    rows, weights = batches[0].rows, arrange(given.weights, batches[0].order, split)
    counts = functools.reduce(operator.and_, (counts for _, counts in of_sets), rows.live)
    losses = jnp.where(counts, sum(losses for losses, _ in of_sets) / len(of_sets), 0.0)

    counted_weights = jnp.where(counts, weights, 0.0)
    total_weight = sum_over_devices(jnp.sum(counted_weights), split.axis_name)
    total_loss = sum_over_devices(jnp.sum(counted_weights * losses), split.axis_name)
    mean = total_loss / jnp.where(total_weight > 0, total_weight, 1.0)
    residuals = _Residuals(
        batches,
        references,
        weights,
        given.coefficients,
        statistics,
        losses,
        counts,
        mean,
        total_weight,
    )
    empty = tuple(jnp.zeros((0,), z.dtype) for z in given.embeddings)  # the dtypes of their cotangents
    return (mean if reduction == "mean" else as_given(losses, batches[0])), (residuals, empty)


def _backward(form: Form, saved: tuple[_Residuals, Any], cotangent: jax.Array) -> tuple[Differentiable, None]:
    (family, split, reduction), (residuals, empty) = form, _once_differentiable(saved)
    batches, coefficients, counts = residuals.batches, residuals.coefficients, residuals.counts
    if reduction == "mean":
        scale = cotangent / jnp.where(residuals.total_weight > 0, residuals.total_weight, 1.0)
        shares = jnp.where(counts, scale * residuals.weights, 0.0)
        by_weights = jnp.where(counts, scale * (residuals.losses - residuals.mean), 0.0)
    else:
        shares = jnp.where(counts, arrange(cotangent, batches[0].order, split), 0.0)
        by_weights = jnp.zeros_like(residuals.weights)

    shares /= len(batches)
    numbers = tuple(family.numbers(coefficients, of_set, shares) for of_set in residuals.statistics)
    width, dtype = batches[0].rows.embeddings.shape[1], shares.dtype
    parts = fold_pairs(
        split,
        batches,
        residuals.references,
        functools.partial(_gradient_tile, family, coefficients),
        jnp.add,
        numbers,
        empty=lambda count: jnp.zeros((count, width), dtype),
        transposed=True,
    )
    by_rows = [sum(part.result for part in parts if part.of == number) for number in range(len(batches))]
    # s_ij is bilinear in the rows: over some pairs, sum_i z_i . dL/dz_i is the sum of s_ij dL/ds_ij.
    through_pairs = sum(
        (part.share * jnp.sum(batches[part.of].rows.embeddings * part.result) for part in parts),
        start=jnp.zeros((), dtype),
    )
    by_coefficients = [
        family.coefficient_gradients(
            coefficients, of_set, shares, through_pairs if number == 0 else jnp.zeros_like(through_pairs)
        )
        for number, of_set in enumerate(residuals.statistics)
    ]
    return Differentiable(
        tuple(
            as_given(rows, batch).astype(e.dtype)
            for rows, batch, e in zip(by_rows, batches, empty, strict=True)
        ),
        as_given(by_weights, batches[0]),
        jax.tree.map(lambda *x: sum(x), *by_coefficients),
    ), None


_loss.defvjp(_forward, _backward)


def collect(
    family: Family,
    split: Split,
    batches: tuple[Batch, ...],
    references: Batch | None,
    coefficients: Any,
) -> tuple[list[Any], ...]:
    """What the passes of the family collect for the anchors of each batch."""
    known: tuple[list[Any], ...] = tuple([] for _ in batches)
    for one in family.passes:
        merge = functools.partial(one.merge, coefficients)
        parts = fold_pairs(
            split,
            batches,
            references,
            functools.partial(_statistics_tile, one, coefficients),
            merge,
            known,
            empty=functools.partial(_repeated, one.empty(batches[0].rows.embeddings.dtype)),
        )
        found = [
            functools.reduce(merge, [part.result for part in parts if part.of == number])
            for number in range(len(batches))
        ]
        known = tuple([*before, more] for before, more in zip(known, found, strict=True))
    return known


def _repeated(tree: Any, count: int) -> Any:
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (count,)), tree)


def _statistics_tile(
    one: Pass, coefficients: Any, rows: Anchors, columns: Anchors, kind: Kind
) -> tuple[Any, Any]:
    s = similarities(rows.rows, columns.rows)
    pairs = find_pairs(rows.rows, columns.rows) if kind.mixed else Pairs(None, None)
    of_rows = one.collect(coefficients, s, pairs, _along_rows(rows.numbers), 1)
    return of_rows, one.collect(coefficients, s, pairs, columns.numbers, 0) if kind.mirrored else None


def _gradient_tile(
    family: Family, coefficients: Any, rows: Anchors, columns: Anchors, kind: Kind
) -> tuple[jax.Array, jax.Array | None]:
    """What the pairs of a tile add to the gradient by its rows, [m, d], and by its columns, transposed: [d, n]."""
    s = similarities(rows.rows, columns.rows)
    pairs = find_pairs(rows.rows, columns.rows) if kind.mixed else Pairs(None, None)
    matrix = family.pair_gradient(coefficients, s, pairs, _along_rows(rows.numbers))
    if columns.numbers is not None:
        matrix += family.pair_gradient(coefficients, s, pairs, columns.numbers)
    by_rows = product(matrix, columns.rows.embeddings)
    # Transposed, because a product with the transposed matrix takes three times as long on a CPU.
    return by_rows, product(rows.rows.embeddings.T, matrix) if kind.mirrored else None


def _along_rows(numbers: Any) -> Any:
    """Numbers of the rows of a tile, [m, 1], as they broadcast against its similarities."""
    return jax.tree.map(lambda x: x[:, None], numbers)


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
