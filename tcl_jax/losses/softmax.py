r"""TCL, SupCon and what differs from them in the sums alone.

    D_i = sum_j p_ij [c exp(s_ij / t) + k1 exp(-s_ij)] + k2 sum_j q_ij exp(s_ij / t),   P_i = sum_j p_ij
    L_i = log D_i - (1 / P_i) sum_j p_ij s_ij / t          positives outside of the logarithm
    L_i = log D_i - log[(1 / P_i) sum_j p_ij exp(s_ij / t)]  positives inside

with c = 1, or 0 where the denominator holds negatives alone. The derivative by a similarity is

    dL_i/ds_ij = p_ij [(c exp(s_ij / t) / t - k1 exp(-s_ij)) / D_i - 1 / (P_i t)] + k2 q_ij exp(s_ij / t) / (t D_i)

and inside exp(s_ij / t) / sum_j p_ij exp(s_ij / t) stands for 1 / P_i.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from tcl_jax.losses.family import Pass
from tcl_jax.losses.pairs import Pairs, weighted
from tcl_jax.losses.sums import (
    ScaledSum,
    Weights,
    add,
    bounded_exp,
    exponentials,
    largest,
    lowest,
    no_sum,
    scaled_sum,
)


class Coefficients(NamedTuple):
    """The loss parameters: scalars in the dtype of the computation."""

    temperature: jax.Array
    k1: jax.Array
    k2: jax.Array


class Statistics(NamedTuple):
    """Sums for each anchor.

    Attributes:
      positives, negatives: of p_ij exp(s_ij / t), of q_ij exp(s_ij / t).
      repulsions, repulsion_moments: of p_ij exp(-s_ij), of p_ij s_ij exp(-s_ij).
      num_positives: P_i; the anchor counts where it is above 0.
      positive_similarity: of p_ij s_ij.
    """

    positives: ScaledSum
    negatives: ScaledSum
    repulsions: ScaledSum
    repulsion_moments: ScaledSum
    num_positives: jax.Array
    positive_similarity: jax.Array


class Denominators(NamedTuple):
    """D_i = exp(log_scale) * scaled of each anchor, and the factors of its three sums in `scaled`.

    Attributes:
      log_scale: the exponent of the largest term; 0 for a row without pairs.
      scaled: positive_factor * positives.sum + others.
      others: negative_factor * negatives.sum + repulsion_factor * repulsions.sum.
      positive_factor, negative_factor, repulsion_factor: between 0 and 1.
    """

    log_scale: jax.Array
    scaled: jax.Array
    others: jax.Array
    positive_factor: jax.Array
    negative_factor: jax.Array
    repulsion_factor: jax.Array


class Numbers(NamedTuple):
    """Factors of exp(s / t) of either kind, of exp(-s) of the positives, and of p_ij itself, in a_i dL_i/ds_ij."""

    positives: Weights
    negatives: Weights
    repulsions: Weights
    per_positive: jax.Array


def _empty(dtype: jnp.dtype) -> Statistics:
    nothing, zero = no_sum(dtype), jnp.zeros((), dtype)
    return Statistics(nothing, nothing, nothing, nothing, zero, zero)


def _collect(
    coefficients: Coefficients, s: jax.Array, pairs: Pairs, known: list[Any], axis: int
) -> Statistics:
    # Every sum is relative to its own largest term. One scale would not do, as exp(s / t) spans e^-100 to e^100 at
    # t = 0.01; nor one for positives and negatives, as k2 = 0 leaves the positives alone in D_i.
    rate = 1.0 / coefficients.temperature
    positive, negative = pairs
    nearest_negative = largest(s, negative, axis)
    if positive is None:
        terms = jnp.exp(rate * (s - nearest_negative))
        nothing = jax.tree.map(lambda x: jnp.broadcast_to(x, s.shape[1 - axis]), _empty(s.dtype))
        return nothing._replace(negatives=scaled_sum(nearest_negative, terms, None, axis))
    nearest_positive, farthest_positive = largest(s, positive, axis), largest(-s, positive, axis)
    of_positives, of_negatives = exponentials(s, rate, pairs, nearest_positive, nearest_negative)
    repulsion = jnp.exp(-s - farthest_positive)
    return Statistics(
        positives=scaled_sum(nearest_positive, of_positives, positive, axis),
        negatives=scaled_sum(nearest_negative, of_negatives, negative, axis),
        repulsions=scaled_sum(farthest_positive, repulsion, positive, axis),
        repulsion_moments=scaled_sum(farthest_positive, s * repulsion, positive, axis),
        num_positives=jnp.sum(positive, axis, dtype=s.dtype),
        positive_similarity=jnp.sum(weighted(positive, s), axis),
    )


def _merge(coefficients: Coefficients, a: Statistics, b: Statistics) -> Statistics:
    rate = 1.0 / coefficients.temperature
    return Statistics(
        positives=add(a.positives, b.positives, rate),
        negatives=add(a.negatives, b.negatives, rate),
        repulsions=add(a.repulsions, b.repulsions, 1.0),
        repulsion_moments=add(a.repulsion_moments, b.repulsion_moments, 1.0),
        num_positives=a.num_positives + b.num_positives,
        positive_similarity=a.positive_similarity + b.positive_similarity,
    )


@dataclasses.dataclass(frozen=True)
class Softmax:
    """Positives inside or outside of the logarithm; positives in the denominator, or negatives alone."""

    inside: bool = False
    positives_in_denominator: bool = True

    passes: ClassVar[tuple[Pass, ...]] = (Pass(_empty, _collect, _merge),)

    def denominators(self, coefficients: Coefficients, statistics: Statistics) -> Denominators:
        """Denominators from the sums that they are made of."""
        rate = 1.0 / coefficients.temperature
        of_positives = rate * statistics.positives.largest
        exponents = (
            of_positives if self.positives_in_denominator else jnp.full_like(of_positives, -jnp.inf),
            rate * statistics.negatives.largest + jnp.log(coefficients.k2),
            statistics.repulsions.largest + jnp.log(coefficients.k1),
        )
        highest = jnp.max(jnp.stack(exponents), axis=0)
        log_scale = jnp.where(highest > 0.5 * lowest(highest.dtype), highest, 0.0)
        of_positives, of_negatives, of_repulsions = (jnp.exp(exponent - log_scale) for exponent in exponents)
        others = of_negatives * statistics.negatives.sum + of_repulsions * statistics.repulsions.sum
        scaled = of_positives * statistics.positives.sum + others
        return Denominators(log_scale, scaled, others, of_positives, of_negatives, of_repulsions)

    def losses(self, coefficients: Coefficients, statistics: list[Any]) -> tuple[jax.Array, jax.Array]:
        """L_i; an anchor counts that has a positive and, where its denominator holds them alone, a negative."""
        (sums,) = statistics
        denominator = self.denominators(coefficients, sums)
        counts = (sums.num_positives > 0) & (denominator.scaled != 0)  # NaN is not hidden
        log_denominator = denominator.log_scale + jnp.log(jnp.where(counts, denominator.scaled, 1.0))
        num_positives = jnp.where(counts, sums.num_positives, 1.0)
        if self.inside:
            attraction = sums.positives.largest / coefficients.temperature
            attraction += jnp.log(jnp.where(counts, sums.positives.sum, 1.0) / num_positives)
        else:
            attraction = sums.positive_similarity / num_positives / coefficients.temperature
        return log_denominator - attraction, counts

    def numbers(self, coefficients: Coefficients, statistics: list[Any], shares: jax.Array) -> Numbers:
        """Factors of the terms of the gradient."""
        (sums,) = statistics
        denominator = self.denominators(coefficients, sums)
        counts = shares != 0
        per_denominator = shares / jnp.where(counts, denominator.scaled, 1.0)
        scaled_rate = per_denominator / coefficients.temperature
        if self.inside:  # positive_factor / D - 1 / sum, without its cancellation
            of_positives = -scaled_rate * denominator.others / jnp.where(counts, sums.positives.sum, 1.0)
            per_positive = jnp.zeros_like(shares)
        else:
            of_positives = scaled_rate * denominator.positive_factor
            per_positive = shares / jnp.where(counts, sums.num_positives, 1.0) / coefficients.temperature
        return Numbers(
            Weights(sums.positives.largest, of_positives),
            Weights(sums.negatives.largest, scaled_rate * denominator.negative_factor),
            Weights(sums.repulsions.largest, per_denominator * denominator.repulsion_factor),
            per_positive,
        )

    def pair_gradient(
        self, coefficients: Coefficients, s: jax.Array, pairs: Pairs, numbers: Numbers
    ) -> jax.Array:
        """a_i dL_i/ds_ij of the pairs of a tile."""
        rate = 1.0 / coefficients.temperature
        positives, negatives, repulsions, per_positive = numbers
        if pairs.positive is None:
            return negatives.share * jnp.exp(rate * (s - negatives.largest))
        of_positives, of_negatives = exponentials(s, rate, pairs, positives.largest, negatives.largest)
        repulsion = repulsions.share * jnp.exp(-s - repulsions.largest)
        by_positives = weighted(pairs.positive, positives.share * of_positives - per_positive - repulsion)
        return by_positives + weighted(pairs.negative, negatives.share * of_negatives)

    def coefficient_gradients(
        self,
        coefficients: Coefficients,
        statistics: list[Any],
        shares: jax.Array,
        through_pairs: jax.Array,
    ) -> Coefficients:
        """By the temperature, on which all but the terms with k1 depend through s_ij / t; by k1 and k2."""
        (sums,) = statistics
        temperature, k1, _ = coefficients
        rate = 1.0 / temperature
        denominator = self.denominators(coefficients, sums)
        per_denominator = shares / jnp.where(shares != 0, denominator.scaled, 1.0)

        def in_denominators(term: ScaledSum, exponent: jax.Array) -> jax.Array:
            return jnp.sum(per_denominator * term.sum * bounded_exp(exponent - denominator.log_scale))

        moments, repulsions, negatives = sums.repulsion_moments, sums.repulsions, sums.negatives
        by_rate = through_pairs + in_denominators(moments, moments.largest + jnp.log(k1))
        return Coefficients(
            temperature=-by_rate * rate,
            k1=in_denominators(repulsions, repulsions.largest),
            k2=in_denominators(negatives, rate * negatives.largest),
        )
