"""Second piece of the engine: the gradient from the statistics, without any saved similarity.

With a_i the derivative of the result by the loss of anchor i (for the mean, its share of all anchors),

    dL/dz_i = sum_j M_ij z_j
    M_ij = W_ij (a_i / D_i + a_j / D_j) - [j in P(i)] (a_i / |P(i)| + a_j / |P(j)|) / t
    W_ij = exp(s/t) / t - k1 exp(-s)   for a positive pair
           k2 exp(s/t) / t             for a negative pair

The first half of each bracket is row i as an anchor, the second half row i as a pair of the anchor j. Both need only
per-row numbers of the other rows, so each device finds the exact gradient of its own rows by itself.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from tcl_jax.losses.pairs import Rows, pair_masks, similarities
from tcl_jax.losses.statistics import Coefficients


class Anchors(NamedTuple):
    """Rows with what their gradient needs, [m] each.

    Attributes:
      rows: the rows themselves.
      log_scale: as in `RowStatistics`; no exponent of the row is above it.
      share_per_denominator: a_i / scaled_denominator_i; 0 where the anchor does not count.
      share_per_positive: a_i / |P(i)|; 0 where the anchor does not count.
    """

    rows: Rows
    log_scale: jax.Array
    share_per_denominator: jax.Array
    share_per_positive: jax.Array


class RowGradients(NamedTuple):
    """Gradient by the rows [m, d], and each anchor's term [m] of the derivative by temperature, k1 and k2."""

    embeddings: jax.Array
    temperature: jax.Array
    k1: jax.Array
    k2: jax.Array


def row_gradients(anchors: Anchors, columns: Anchors, coefficients: Coefficients) -> RowGradients:
    """Gradient of sum_i a_i L_i by the rows `anchors`, given the statistics of all `columns`."""
    temperature, k1, k2 = coefficients
    s = similarities(anchors.rows, columns.rows)
    positive, negative = pair_masks(anchors.rows, columns.rows)
    own_scale, own_share = anchors.log_scale[:, None], anchors.share_per_denominator[:, None]
    their_scale, their_share = columns.log_scale[None, :], columns.share_per_denominator[None, :]

    def weights(exponent: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        # a exp(x) / D with one subtraction inside the exponential: no factor leaves the range of float32.
        own = jnp.where(mask, own_share * jnp.exp(exponent - own_scale), 0.0)
        theirs = jnp.where(mask, their_share * jnp.exp(exponent - their_scale), 0.0)
        return own, own + theirs

    log_k2 = jnp.where(negative, jnp.log(k2), 0.0)
    own_attraction, attraction = weights(s / temperature + log_k2, positive | negative)
    _, repulsion = weights(jnp.log(k1) - s, positive)
    per_positive = anchors.share_per_positive[:, None] + columns.share_per_positive[None, :]
    matrix = (attraction - jnp.where(positive, per_positive, 0.0)) / temperature - repulsion

    own_pull = own_attraction - jnp.where(positive, anchors.share_per_positive[:, None], 0.0)
    by_k1 = jnp.where(positive, own_share * _bounded_exp(-s - own_scale), 0.0)
    by_k2 = jnp.where(negative, own_share * _bounded_exp(s / temperature - own_scale), 0.0)
    return RowGradients(
        embeddings=jnp.matmul(matrix, columns.rows.embeddings, precision=lax.Precision.HIGHEST),
        temperature=-jnp.sum(own_pull * s, axis=1) / temperature**2,
        k1=jnp.sum(by_k1, axis=1),
        k2=jnp.sum(by_k2, axis=1),
    )


def _bounded_exp(x: jax.Array) -> jax.Array:
    """exp(x), so bounded that sums over pairs stay finite.

    The derivative by k1 at k1 = 0 (by k2 at k2 = 0) can truly be e^101 and more, which float32 does not hold; as an
    infinity it would turn a cotangent of 0 into NaN.
    """
    pairs = x.shape[1] ** 2
    return jnp.exp(jnp.minimum(x, jnp.log(jnp.finfo(x.dtype).max) - jnp.log(float(pairs))))
