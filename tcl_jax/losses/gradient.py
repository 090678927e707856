"""Second piece of the engine: the gradient from the statistics, without any saved similarity.

With a_i the derivative of the result by the loss of anchor i (for the mean, its share of all anchors),

    dL/dz_i = sum_j M_ij z_j
    M_ij = W_ij (a_i / D_i + a_j / D_j) - [j in P(i)] (a_i / |P(i)| + a_j / |P(j)|) / t
    W_ij = exp(s/t) / t - k1 exp(-s)   for a positive pair
           k2 exp(s/t) / t             for a negative pair

The first half of each bracket is row i as an anchor, the second half row i as a pair of the anchor j. Both need only
per-row numbers of the other rows, so each device finds the exact gradient of its own rows by itself; and M_ij = M_ji.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tcl_jax.losses.pairs import Rows, pair_masks, product, similarities
from tcl_jax.losses.statistics import Coefficients, Denominators, RowStatistics, ScaledSum
from tcl_jax.losses.tiles import Kind


class Weights(NamedTuple):
    """Factors of exp(r (x - largest)) in a_i times a term of D_i over D_i, [m] each: `largest` as in `ScaledSum`."""

    largest: jax.Array
    share: jax.Array


class Anchors(NamedTuple):
    """Rows with what their gradient needs, [m] each.

    Attributes:
      rows: the rows themselves.
      positives, negatives: for exp(s / t) of either; the share includes k2.
      repulsions: for exp(-s) of the positives; the share includes k1.
      share_per_positive: a_i / |P(i)|. All shares are 0 where the anchor does not count.
    """

    rows: Rows
    positives: Weights
    negatives: Weights
    repulsions: Weights
    share_per_positive: jax.Array


def make_anchors(
    rows: Rows, statistics: RowStatistics, denominators: Denominators, shares: jax.Array
) -> Anchors:
    """Anchors from their statistics and their a_i, which are 0 where an anchor does not count."""
    counts = statistics.num_positives > 0
    per_denominator = shares / jnp.where(counts, denominators.scaled, 1.0)
    return Anchors(
        rows,
        positives=Weights(statistics.positives.largest, per_denominator * denominators.positive_factor),
        negatives=Weights(statistics.negatives.largest, per_denominator * denominators.negative_factor),
        repulsions=Weights(statistics.repulsions.largest, per_denominator * denominators.repulsion_factor),
        share_per_positive=shares / jnp.where(counts, statistics.num_positives, 1.0),
    )


def tile_gradient(
    coefficients: Coefficients, anchors: Anchors, columns: Anchors, kind: Kind
) -> tuple[jax.Array, jax.Array | None]:
    """What the pairs of `anchors` with `columns` add to the gradient by the anchors, [m, d].

    Where mirrored also what they add to that by the columns, transposed: [d, n].
    """
    rate = 1.0 / coefficients.temperature
    s = similarities(anchors.rows, columns.rows)
    ours = Anchors(anchors.rows, *jax.tree.map(lambda x: x[:, None], anchors[1:]))
    theirs = columns

    if kind.mixed:
        positive, negative = pair_masks(anchors.rows, columns.rows)

        def attraction(of: Anchors) -> jax.Array:
            weights = jax.tree.map(lambda p, n: jnp.where(positive, p, n), of.positives, of.negatives)
            return weights.share * jnp.exp(rate * (s - weights.largest))

        def repulsion(of: Anchors) -> jax.Array:
            return of.repulsions.share * jnp.exp(-s - of.repulsions.largest)

        pull = jnp.where(positive | negative, attraction(ours) + attraction(theirs), 0.0)
        pull -= jnp.where(positive, ours.share_per_positive + theirs.share_per_positive, 0.0)
        matrix = pull * rate - jnp.where(positive, repulsion(ours) + repulsion(theirs), 0.0)
    else:
        own, their = (w.share * jnp.exp(rate * (s - w.largest)) for w in (ours.negatives, theirs.negatives))
        matrix = (own + their) * rate

    by_anchors = product(matrix, columns.rows.embeddings)
    # Transposed, because a product with the transposed matrix takes three times as long on a CPU.
    by_columns = product(anchors.rows.embeddings.T, matrix) if kind.mirrored else None
    return by_anchors, by_columns


def coefficient_gradients(
    shares: jax.Array,
    statistics: RowStatistics,
    denominators: Denominators,
    coefficients: Coefficients,
    rows: Rows,
    gradient: jax.Array,
) -> Coefficients:
    """Derivatives of sum_i a_i L_i by temperature, k1 and k2, from row sums alone.

    s_ij is bilinear in the rows, so that sum_i z_i . dL/dz_i is twice the sum of s_ij dL/ds_ij: but for the terms with
    k1, which have no temperature, that is the derivative by the temperature times -2 t. Over several devices this is
    the device's part of a sum.

    Args:
      shares: [m], a_i.
      gradient: [m, d], by the rows.
    """
    temperature, k1, _ = coefficients
    rate = 1.0 / temperature
    counts = statistics.num_positives > 0
    per_denominator = shares / jnp.where(counts, denominators.scaled, 1.0)

    def in_denominators(term: ScaledSum, exponent: jax.Array) -> jax.Array:
        return jnp.sum(per_denominator * term.sum * _bounded_exp(exponent - denominators.log_scale))

    moments, repulsions, negatives = (
        statistics.repulsion_moments,
        statistics.repulsions,
        statistics.negatives,
    )
    pull = 0.5 * jnp.sum(rows.embeddings * gradient)
    pull += in_denominators(moments, moments.largest + jnp.log(k1))
    return Coefficients(
        temperature=-pull * rate,
        k1=in_denominators(repulsions, repulsions.largest),
        k2=in_denominators(negatives, rate * negatives.largest),
    )


def _bounded_exp(x: jax.Array) -> jax.Array:
    """exp(x), so bounded that sums over rows stay finite.

    The derivative by k1 at k1 = 0 (by k2 at k2 = 0) can truly be e^101 and more, which float32 does not hold; as an
    infinity it would turn a cotangent of 0 into NaN.
    """
    return jnp.exp(jnp.minimum(x, jnp.log(jnp.finfo(x.dtype).max) - 3.0 * jnp.log(float(x.size))))
