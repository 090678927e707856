"""First piece of the engine: what one pass over the pairs collects for each anchor."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tcl_jax.losses.pairs import Rows, pair_masks, similarities
from tcl_jax.losses.tiles import Kind


class Coefficients(NamedTuple):
    """The loss parameters: scalars in the dtype of the computation."""

    temperature: jax.Array
    k1: jax.Array
    k2: jax.Array


class ScaledSum(NamedTuple):
    """Sums of exp(r x), [m] each, of any size: exp(r * largest) * sum, with the largest x of each row; r is 1/t or 1.

    The exponents are r (x - largest), in which the difference of near numbers is exact; and one number log(sum) would
    not do in float32, as its rounding error shifts all weights of a row the same way. Where a class is tight the
    gradient is a small difference of such sums.
    """

    largest: jax.Array
    sum: jax.Array


class RowStatistics(NamedTuple):
    """Sums for each anchor, [m] each; the loss and its gradient need nothing else of the n x n pairs.

    Attributes:
      positives: sum of exp(s_ip / t) over P(i).
      negatives: sum of exp(s_in / t) over N(i).
      repulsions: sum of exp(-s_ip) over P(i).
      repulsion_moments: sum of s_ip exp(-s_ip) over P(i).
      num_positives: |P(i)|, 0 for rows that are not live. The anchor counts where it is above 0.
      positive_similarity: sum of s_ip over P(i).
    """

    positives: ScaledSum
    negatives: ScaledSum
    repulsions: ScaledSum
    repulsion_moments: ScaledSum
    num_positives: jax.Array
    positive_similarity: jax.Array


class Denominators(NamedTuple):
    """D_i = exp(log_scale) * scaled of each anchor, and the factors of its three sums in `scaled`, [m] each.

    D_i = sum_P [exp(s_ip / t) + k1 exp(-s_ip)] + k2 sum_N exp(s_in / t), Eq. 4 of arXiv 2305.10675.

    Attributes:
      log_scale: the exponent of the largest term; 0 for a row without pairs.
      scaled: positive_factor * positives.sum + negative_factor * negatives.sum + repulsion_factor * repulsions.sum.
      positive_factor, negative_factor, repulsion_factor: between 0 and 1.
    """

    log_scale: jax.Array
    scaled: jax.Array
    positive_factor: jax.Array
    negative_factor: jax.Array
    repulsion_factor: jax.Array


def nothing(count: int, dtype: jnp.dtype) -> RowStatistics:
    """Statistics of `count` anchors without pairs."""
    zero = jnp.zeros(count, dtype)
    no_sum = ScaledSum(zero + _lowest(dtype), zero)
    return RowStatistics(no_sum, no_sum, no_sum, no_sum, zero, zero)


def merge(coefficients: Coefficients, a: RowStatistics, b: RowStatistics) -> RowStatistics:
    """Statistics over the pairs of both."""

    def add(x: ScaledSum, y: ScaledSum, rate: jax.Array | float) -> ScaledSum:
        largest = jnp.maximum(x.largest, y.largest)
        kept = (part.sum * jnp.exp(rate * (part.largest - largest)) for part in (x, y))
        return ScaledSum(largest, sum(kept, start=jnp.zeros_like(largest)))

    rate = 1.0 / coefficients.temperature
    return RowStatistics(
        positives=add(a.positives, b.positives, rate),
        negatives=add(a.negatives, b.negatives, rate),
        repulsions=add(a.repulsions, b.repulsions, 1.0),
        repulsion_moments=add(a.repulsion_moments, b.repulsion_moments, 1.0),
        num_positives=a.num_positives + b.num_positives,
        positive_similarity=a.positive_similarity + b.positive_similarity,
    )


def tile_statistics(
    coefficients: Coefficients, rows: Rows, columns: Rows, kind: Kind
) -> tuple[RowStatistics, RowStatistics | None]:
    """Statistics of the anchors `rows` [m] against `columns` [n]; where mirrored, also of columns against rows.

    Every sum of exponentials is taken relative to its own largest term. One scale for the tile would not do, as
    exp(s / t) spans e^-100 to e^100 at t = 0.01; nor one for positives and negatives, as k2 = 0 leaves the positives
    alone in D_i.
    """
    s = similarities(rows, columns)
    rate = 1.0 / coefficients.temperature
    positive, negative = pair_masks(rows, columns) if kind.mixed else (None, None)

    def of_side(axis: int) -> RowStatistics:
        def scaled_sum(largest: jax.Array, terms: jax.Array, mask: jax.Array | None) -> ScaledSum:
            return ScaledSum(largest.squeeze(axis), jnp.sum(_where(mask, terms, 0.0), axis))

        nearest_negative = _largest(s, negative, axis)
        if positive is None:
            negatives = scaled_sum(nearest_negative, jnp.exp(rate * (s - nearest_negative)), None)
            return nothing(s.shape[1 - axis], s.dtype)._replace(negatives=negatives)
        nearest_positive, farthest_positive = _largest(s, positive, axis), _largest(-s, positive, axis)
        attraction = jnp.exp(rate * (s - jnp.where(positive, nearest_positive, nearest_negative)))
        repulsion = jnp.exp(-s - farthest_positive)
        return RowStatistics(
            positives=scaled_sum(nearest_positive, attraction, positive),
            negatives=scaled_sum(nearest_negative, attraction, negative),
            repulsions=scaled_sum(farthest_positive, repulsion, positive),
            repulsion_moments=scaled_sum(farthest_positive, s * repulsion, positive),
            num_positives=jnp.sum(positive, axis, dtype=s.dtype),
            positive_similarity=jnp.sum(jnp.where(positive, s, 0.0), axis),
        )

    return of_side(1), of_side(0) if kind.mirrored else None


def denominators(statistics: RowStatistics, coefficients: Coefficients) -> Denominators:
    """Denominators from the three sums that they are made of."""
    sums = (statistics.positives, statistics.negatives, statistics.repulsions)
    rate = 1.0 / coefficients.temperature
    exponents = (
        rate * statistics.positives.largest,
        rate * statistics.negatives.largest + jnp.log(coefficients.k2),
        statistics.repulsions.largest + jnp.log(coefficients.k1),
    )
    largest = jnp.max(jnp.stack(exponents), axis=0)
    log_scale = jnp.where(largest > 0.5 * _lowest(largest.dtype), largest, 0.0)
    factors = [jnp.exp(exponent - log_scale) for exponent in exponents]
    scaled = sum((f * x.sum for f, x in zip(factors, sums, strict=True)), start=jnp.zeros_like(largest))
    return Denominators(log_scale, scaled, *factors)


def anchor_losses(statistics: RowStatistics, coefficients: Coefficients) -> jax.Array:
    """L_i = log D_i - mean_P s_ip / t, [m]; 0 where the anchor does not count."""
    denominator = denominators(statistics, coefficients)
    counts = statistics.num_positives > 0
    mean_similarity = statistics.positive_similarity / jnp.maximum(statistics.num_positives, 1.0)
    log_denominator = denominator.log_scale + jnp.log(jnp.where(counts, denominator.scaled, 1.0))
    return jnp.where(counts, log_denominator - mean_similarity / coefficients.temperature, 0.0)


def _lowest(dtype: jnp.dtype) -> float:
    """The largest x of an empty sum: finite, for -inf less -inf is NaN."""
    return float(jnp.finfo(dtype).min) / 4


def _largest(x: jax.Array, mask: jax.Array | None, axis: int) -> jax.Array:
    """Largest x along the axis, which is kept with length 1."""
    return jnp.maximum(jnp.max(_where(mask, x, -jnp.inf), axis, keepdims=True), _lowest(x.dtype))


def _where(mask: jax.Array | None, x: jax.Array, otherwise: float) -> jax.Array:
    return x if mask is None else jnp.where(mask, x, otherwise)
