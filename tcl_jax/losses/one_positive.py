"""One positive in each denominator: SINCERE.

    N_i = sum_j q_ij exp(s_ij / t),   x_ij = log N_i - s_ij / t
    L_i = (1 / P_i) sum_j p_ij log[1 + exp(x_ij)],   so that log[...] = -log[exp(s_ij / t) / (exp(s_ij / t) + N_i)]

Positives do not push each other apart, as they do where they share one denominator. N_i must be known before the
positives can be summed, which takes a second pass. With f the logistic function,

    dL_i/ds_ij = -p_ij f(x_ij) / (P_i t) + q_ij exp(s_ij / t) / N_i  (1 / (P_i t)) sum_k p_ik f(x_ik)
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from tcl_jax.losses.family import Pass
from tcl_jax.losses.pairs import Pairs, weighted
from tcl_jax.losses.softmax import Coefficients
from tcl_jax.losses.sums import ScaledSum, Weights, add, largest, no_sum, scaled_sum


class _Negatives(NamedTuple):
    """N_i, and P_i."""

    negatives: ScaledSum
    num_positives: jax.Array


class _Positives(NamedTuple):
    """Sums of p_ij log[1 + exp(x_ij)] and of p_ij f(x_ij)."""

    losses: jax.Array
    slopes: jax.Array


class _Numbers(NamedTuple):
    """Factors of f(x_ij) of the positives and of exp(s / t) of the negatives in a_i dL_i/ds_ij; and N_i."""

    per_positive: jax.Array
    negatives: Weights
    sum: ScaledSum


def _collect_negatives(
    coefficients: Coefficients, s: jax.Array, pairs: Pairs, known: list[Any], axis: int
) -> _Negatives:
    nearest = largest(s, pairs.negative, axis)
    terms = jnp.exp((s - nearest) / coefficients.temperature)
    count = jnp.zeros(s.shape[1 - axis], s.dtype) if pairs.positive is None else pairs.positive.sum(axis)
    return _Negatives(scaled_sum(nearest, terms, pairs.negative, axis), count.astype(s.dtype))


def _merge_negatives(coefficients: Coefficients, a: _Negatives, b: _Negatives) -> _Negatives:
    rate = 1.0 / coefficients.temperature
    return _Negatives(add(a.negatives, b.negatives, rate), a.num_positives + b.num_positives)


def _collect_positives(
    coefficients: Coefficients, s: jax.Array, pairs: Pairs, known: list[Any], axis: int
) -> _Positives:
    if pairs.positive is None:
        nothing = jnp.zeros(s.shape[1 - axis], s.dtype)
        return _Positives(nothing, nothing)
    x = _against_negatives(coefficients, s, known[0].negatives)
    return _Positives(
        jnp.sum(weighted(pairs.positive, jax.nn.softplus(x)), axis),
        jnp.sum(weighted(pairs.positive, jax.nn.sigmoid(x)), axis),
    )


def _against_negatives(coefficients: Coefficients, s: jax.Array, negatives: ScaledSum) -> jax.Array:
    """x_ij, -inf for an anchor without negatives."""
    return (negatives.largest - s) / coefficients.temperature + jnp.log(negatives.sum)


@dataclasses.dataclass(frozen=True)
class OnePositive:
    """SINCERE (Feeney and Hughes, arXiv 2309.14277)."""

    passes: ClassVar[tuple[Pass, ...]] = (
        Pass(
            lambda dtype: _Negatives(no_sum(dtype), jnp.zeros((), dtype)),
            _collect_negatives,
            _merge_negatives,
        ),
        Pass(
            lambda dtype: _Positives(jnp.zeros((), dtype), jnp.zeros((), dtype)),
            _collect_positives,
            lambda coefficients, a, b: jax.tree.map(jnp.add, a, b),
        ),
    )

    def losses(self, coefficients: Coefficients, statistics: list[Any]) -> tuple[jax.Array, jax.Array]:
        """L_i; an anchor counts that has a positive. Without negatives its loss is 0."""
        first, second = statistics
        counts = first.num_positives > 0
        return second.losses / jnp.where(counts, first.num_positives, 1.0), counts

    def numbers(self, coefficients: Coefficients, statistics: list[Any], shares: jax.Array) -> _Numbers:
        """Factors of the terms of the gradient."""
        first, second = statistics
        per_positive = shares / jnp.where(shares != 0, first.num_positives, 1.0) / coefficients.temperature
        total = jnp.where(first.negatives.sum > 0, first.negatives.sum, 1.0)
        negatives = Weights(first.negatives.largest, per_positive * second.slopes / total)
        return _Numbers(per_positive, negatives, first.negatives)

    def pair_gradient(
        self, coefficients: Coefficients, s: jax.Array, pairs: Pairs, numbers: _Numbers
    ) -> jax.Array:
        """a_i dL_i/ds_ij of the pairs of a tile."""
        push = numbers.negatives.share * jnp.exp((s - numbers.negatives.largest) / coefficients.temperature)
        if pairs.positive is None:
            return push
        pull = numbers.per_positive * jax.nn.sigmoid(_against_negatives(coefficients, s, numbers.sum))
        return weighted(pairs.negative, push) - weighted(pairs.positive, pull)

    def coefficient_gradients(
        self, coefficients: Coefficients, statistics: list[Any], shares: jax.Array, through_pairs: jax.Array
    ) -> Coefficients:
        """By the temperature, on which the loss depends through s_ij / t alone."""
        zero = jnp.zeros_like(coefficients.temperature)
        return Coefficients(-through_pairs / coefficients.temperature, zero, zero)
