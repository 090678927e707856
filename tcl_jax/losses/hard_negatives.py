"""SupCon whose negatives count by how near they are.

With hardness b and |N_i| = sum_j q_ij, the negatives enter the denominator by their mean under weights exp(b s_ij / t):

    W_i = sum_j q_ij exp((1 + b) s_ij / t),   I_i = sum_j q_ij exp(b s_ij / t)
    D_i = sum_j p_ij exp(s_ij / t) + |N_i| W_i / I_i
    L_i = log D_i - (1 / P_i) sum_j p_ij s_ij / t
    dL_i/ds_ij = p_ij [exp(s_ij / t) / D_i - 1 / P_i] / t
                 + q_ij (|N_i| W_i / I_i) / D_i [(1 + b) exp((1 + b) s_ij / t) / W_i - b exp(b s_ij / t) / I_i] / t
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from tcl_jax.losses.family import Pass
from tcl_jax.losses.pairs import Pairs, weighted
from tcl_jax.losses.sums import ScaledSum, Weights, add, largest, no_sum, scaled_sum


class Hardness(NamedTuple):
    """Scalars in the dtype of the computation."""

    temperature: jax.Array
    hardness: jax.Array


class _Negatives(NamedTuple):
    """W_i and I_i, with the same largest s, and |N_i|."""

    hard: ScaledSum
    importances: ScaledSum
    number: jax.Array


class _Statistics(NamedTuple):
    """Sums for each anchor: over the negatives, of p_ij exp(s_ij / t), of p_ij and of p_ij s_ij."""

    negatives: _Negatives
    positives: ScaledSum
    num_positives: jax.Array
    positive_similarity: jax.Array


class _Numbers(NamedTuple):
    """Factors of the three exponentials and of p_ij itself in a_i dL_i/ds_ij."""

    positives: Weights
    negatives: Weights
    importances: Weights
    per_positive: jax.Array


def _empty(dtype: jnp.dtype) -> _Statistics:
    nothing, zero = no_sum(dtype), jnp.zeros((), dtype)
    return _Statistics(_Negatives(nothing, nothing, zero), nothing, zero, zero)


def _rates(coefficients: Hardness) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of the exponentials of positives, hard negatives and importances."""
    rate = 1.0 / coefficients.temperature
    return rate, (1.0 + coefficients.hardness) * rate, coefficients.hardness * rate


def _collect(
    coefficients: Hardness, s: jax.Array, pairs: Pairs, known: list[Any], axis: int
) -> _Statistics | _Negatives:
    """Statistics; of a tile without positives, those of its negatives."""
    rate, of_hard, of_importances = _rates(coefficients)
    nearest = largest(s, pairs.negative, axis)
    hard, importances = (
        scaled_sum(nearest, jnp.exp(by * (s - nearest)), pairs.negative, axis)
        for by in (of_hard, of_importances)
    )
    negatives = _Negatives(hard, importances, jnp.sum(weighted(pairs.negative, jnp.ones_like(s)), axis))
    if pairs.positive is None:
        return negatives
    nearest = largest(s, pairs.positive, axis)
    return _Statistics(
        negatives,
        scaled_sum(nearest, jnp.exp(rate * (s - nearest)), pairs.positive, axis),
        jnp.sum(pairs.positive, axis, dtype=s.dtype),
        jnp.sum(weighted(pairs.positive, s), axis),
    )


def _merge(coefficients: Hardness, a: _Statistics, b: _Statistics | _Negatives) -> _Statistics:
    rate, of_hard, of_importances = _rates(coefficients)
    ours, theirs = a.negatives, b if isinstance(b, _Negatives) else b.negatives
    negatives = _Negatives(
        add(ours.hard, theirs.hard, of_hard),
        add(ours.importances, theirs.importances, of_importances),
        ours.number + theirs.number,
    )
    if isinstance(b, _Negatives):
        return a._replace(negatives=negatives)
    return _Statistics(
        negatives,
        add(a.positives, b.positives, rate),
        a.num_positives + b.num_positives,
        a.positive_similarity + b.positive_similarity,
    )


@dataclasses.dataclass(frozen=True)
class HardNegatives:
    """Robinson et al., arXiv 2010.04592, Sec. 3, with tau+ = 0."""

    passes: ClassVar[tuple[Pass, ...]] = (Pass(_empty, _collect, _merge),)

    def _denominators(
        self, coefficients: Hardness, sums: _Statistics
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """D_i as (exponent, scaled), and the factors of the positive sum and of W_i in `scaled`."""
        rate = 1.0 / coefficients.temperature
        positives, negatives = sums.positives, sums.negatives
        has_negatives = negatives.number > 0
        exponent = rate * jnp.maximum(positives.largest, negatives.hard.largest)
        exponent = jnp.where(has_negatives | (sums.num_positives > 0), exponent, 0.0)
        of_positives, of_negatives = (
            jnp.exp(rate * x.largest - exponent) for x in (positives, negatives.hard)
        )
        of_negatives *= negatives.number / jnp.where(has_negatives, negatives.importances.sum, 1.0)
        scaled = of_positives * positives.sum + of_negatives * negatives.hard.sum
        return exponent, scaled, of_positives, of_negatives

    def losses(self, coefficients: Hardness, statistics: list[Any]) -> tuple[jax.Array, jax.Array]:
        """L_i; an anchor counts that has a positive."""
        (sums,) = statistics
        exponent, scaled, _, _ = self._denominators(coefficients, sums)
        counts = sums.num_positives > 0
        mean = sums.positive_similarity / jnp.where(counts, sums.num_positives, 1.0)
        return exponent + jnp.log(jnp.where(counts, scaled, 1.0)) - mean / coefficients.temperature, counts

    def numbers(self, coefficients: Hardness, statistics: list[Any], shares: jax.Array) -> _Numbers:
        """Factors of the terms of the gradient."""
        (sums,) = statistics
        _, scaled, of_positives, of_negatives = self._denominators(coefficients, sums)
        rate, of_hard, of_importances = _rates(coefficients)
        hard, importances, number = sums.negatives
        per_denominator = shares / jnp.where(shares != 0, scaled, 1.0)
        per_negative = per_denominator * of_negatives
        ratio = hard.sum / jnp.where(number > 0, importances.sum, 1.0)
        return _Numbers(
            Weights(sums.positives.largest, rate * per_denominator * of_positives),
            Weights(hard.largest, of_hard * per_negative),
            Weights(importances.largest, of_importances * per_negative * ratio),
            rate * shares / jnp.where(shares != 0, sums.num_positives, 1.0),
        )

    def pair_gradient(
        self, coefficients: Hardness, s: jax.Array, pairs: Pairs, numbers: _Numbers
    ) -> jax.Array:
        """a_i dL_i/ds_ij of the pairs of a tile."""
        rates = _rates(coefficients)
        attraction, push, importance = (
            x.share * jnp.exp(rate * (s - x.largest)) for x, rate in zip(numbers[:3], rates, strict=True)
        )
        by_negatives = weighted(pairs.negative, push - importance)
        if pairs.positive is None:
            return by_negatives
        return weighted(pairs.positive, attraction - numbers.per_positive) + by_negatives

    def coefficient_gradients(
        self, coefficients: Hardness, statistics: list[Any], shares: jax.Array, through_pairs: jax.Array
    ) -> Hardness:
        """By the temperature, on which the loss depends through s_ij / t alone; none by the hardness."""
        return Hardness(-through_pairs / coefficients.temperature, jnp.zeros_like(coefficients.hardness))
