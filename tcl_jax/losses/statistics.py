"""First piece of the engine: what one pass over the pairs tells about each anchor."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tcl_jax.losses.pairs import Rows, pair_masks, similarities


class Coefficients(NamedTuple):
    """The loss parameters: scalars in the dtype of the computation."""

    temperature: jax.Array
    k1: jax.Array
    k2: jax.Array


class RowStatistics(NamedTuple):
    """Per-anchor figures, [m] each; the loss and its gradient need nothing else of the n x n pairs.

    The denominator is kept as D_i = exp(log_scale_i) * scaled_denominator_i, where log_scale_i is the largest exponent
    in row i. One number log D_i would not do in float32: its rounding error shifts all weights of the row the same way,
    and where a class is tight the gradient is a small difference of such sums.

    Attributes:
      log_scale: largest exponent of the row; 0 in a row without pairs.
      scaled_denominator: between 1 and 2 n; 0 in a row without pairs.
      num_positives: |P(i)|, 0 for rows that are not live. The anchor counts where it is above 0.
      positive_similarity: mean of s_ip over P(i); 0 where there is none.
    """

    log_scale: jax.Array
    scaled_denominator: jax.Array
    num_positives: jax.Array
    positive_similarity: jax.Array


def row_statistics(rows: Rows, columns: Rows, coefficients: Coefficients) -> RowStatistics:
    """Statistics of the anchors `rows` [m] against all `columns` [n].

    D_i = sum_P [exp(s_ip / t) + k1 exp(-s_ip)] + k2 sum_N exp(s_in / t), Eq. 4 of arXiv 2305.10675. It is summed in log
    space under one maximum for all three kinds of term: none of them alone bounds the others (at t = 0.01, exp(s / t)
    spans e^-100 to e^100 and k1 exp(-s) may be the largest term or the smallest).
    """
    temperature, k1, k2 = coefficients
    s = similarities(rows, columns)
    positive, negative = pair_masks(rows, columns)
    attraction = jnp.where(
        positive | negative, s / temperature + jnp.where(negative, jnp.log(k2), 0.0), -jnp.inf
    )
    repulsion = jnp.where(positive, jnp.log(k1) - s, -jnp.inf)

    largest = jnp.maximum(jnp.max(attraction, axis=1), jnp.max(repulsion, axis=1))
    log_scale = jnp.where(jnp.isneginf(largest), 0.0, largest)  # a row without pairs: avoid -inf - -inf
    scaled = jnp.exp(attraction - log_scale[:, None]) + jnp.exp(repulsion - log_scale[:, None])
    num_positives = jnp.sum(positive, axis=1, dtype=s.dtype)
    return RowStatistics(
        log_scale=log_scale,
        scaled_denominator=jnp.sum(scaled, axis=1),
        num_positives=num_positives,
        positive_similarity=jnp.sum(jnp.where(positive, s, 0.0), axis=1) / jnp.maximum(num_positives, 1.0),
    )


def anchor_losses(statistics: RowStatistics, coefficients: Coefficients) -> jax.Array:
    """L_i = log D_i - mean_P s_ip / t, [m]; 0 where the anchor does not count."""
    log_denominator = statistics.log_scale + jnp.log(statistics.scaled_denominator)
    values = log_denominator - statistics.positive_similarity / coefficients.temperature
    return jnp.where(statistics.num_positives > 0, values, 0.0)
