"""One positive in each denominator: SINCERE.

With f the logistic function, exp(s_ij / t) / (exp(s_ij / t) + N_i) = f(-x_ij) = exp(-log[1 + exp(x_ij)]):

    N_i = sum_j q_ij exp(s_ij / t),   x_ij = log N_i - s_ij / t
    L_i = (1 / P_i) sum_j p_ij log[1 + exp(x_ij)]     positives outside of the logarithm
    L_i = -log[(1 / P_i) sum_j p_ij f(-x_ij)]         positives inside

Positives do not push each other apart, as they do where they share one denominator. N_i must be known before the
positives can be summed, which takes a second pass. With w_ij = p_ij / P_i, or inside p_ij f(-x_ij) over its sum,

    dL_i/ds_ij = -w_ij f(x_ij) / t + q_ij exp(s_ij / t) / (N_i t) sum_k w_ik f(x_ik)
"""

import dataclasses
from typing import Any, NamedTuple

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
    """Factors in a_i dL_i/ds_ij: of f(x_ij) of the positives (inside of f(-x_ij) f(x_ij)), of exp(s / t); and N_i."""

    positives: Weights
    negatives: Weights
    sum: ScaledSum


def _collect_negatives(
    coefficients: Coefficients, s: jax.Array, pairs: Pairs, known: list[Any], axis: int
) -> _Negatives | ScaledSum:
    nearest = largest(s, pairs.negative, axis)
    terms = jnp.exp((s - nearest) / coefficients.temperature)
    negatives = scaled_sum(nearest, terms, pairs.negative, axis)
    if pairs.positive is None:
        return negatives
    return _Negatives(negatives, jnp.sum(pairs.positive, axis, dtype=s.dtype))


def _merge_negatives(coefficients: Coefficients, a: _Negatives, b: _Negatives | ScaledSum) -> _Negatives:
    rate = 1.0 / coefficients.temperature
    if isinstance(b, ScaledSum):
        return a._replace(negatives=add(a.negatives, b, rate))
    return _Negatives(add(a.negatives, b.negatives, rate), a.num_positives + b.num_positives)


def _collect_outside(
    coefficients: Coefficients, s: jax.Array, pairs: Pairs, known: list[Any], axis: int
) -> _Positives | None:
    if pairs.positive is None:
        return None
    x = _against_negatives(coefficients, s, known[0].negatives)
    return _Positives(
        jnp.sum(weighted(pairs.positive, jax.nn.softplus(x)), axis),
        jnp.sum(weighted(pairs.positive, jax.nn.sigmoid(x)), axis),
    )


def _collect_inside(
    coefficients: Coefficients, s: jax.Array, pairs: Pairs, known: list[Any], axis: int
) -> ScaledSum | None:
    """The sum of p_ij f(-x_ij), and as its moment that of p_ij f(-x_ij) f(x_ij)."""
    if pairs.positive is None:
        return None
    x = _against_negatives(coefficients, s, known[0].negatives)
    exponent = -jax.nn.softplus(x)
    nearest = largest(exponent, pairs.positive, axis)
    terms = jnp.exp(exponent - nearest)
    moment = jnp.sum(weighted(pairs.positive, terms * jax.nn.sigmoid(x)), axis)
    return scaled_sum(nearest, terms, pairs.positive, axis)._replace(moment=moment)


def _against_negatives(coefficients: Coefficients, s: jax.Array, negatives: ScaledSum) -> jax.Array:
    """x_ij, -inf for an anchor without negatives."""
    return (negatives.largest - s) / coefficients.temperature + jnp.log(negatives.sum)


_NEGATIVES = Pass(
    lambda dtype: _Negatives(no_sum(dtype), jnp.zeros((), dtype)), _collect_negatives, _merge_negatives
)
_OUTSIDE = Pass(
    lambda dtype: _Positives(jnp.zeros((), dtype), jnp.zeros((), dtype)),
    _collect_outside,
    lambda coefficients, a, b: a if b is None else jax.tree.map(jnp.add, a, b),
)
_INSIDE = Pass(
    lambda dtype: no_sum(dtype)._replace(moment=jnp.zeros((), dtype)),
    _collect_inside,
    lambda coefficients, a, b: a if b is None else add(a, b, 1.0),
)


@dataclasses.dataclass(frozen=True)
class OnePositive:
    """SINCERE (Feeney and Hughes, arXiv 2309.14277), and its form with the positives inside of the logarithm."""

    inside: bool = False

    @property
    def passes(self) -> tuple[Pass, ...]:
        """Negatives, then positives."""
        return _NEGATIVES, _INSIDE if self.inside else _OUTSIDE

    def losses(self, coefficients: Coefficients, statistics: list[Any]) -> tuple[jax.Array, jax.Array]:
        """L_i; an anchor counts that has a positive. Without negatives its loss is 0."""
        first, second = statistics
        counts = first.num_positives > 0
        num_positives = jnp.where(counts, first.num_positives, 1.0)
        if self.inside:
            return -second.largest - jnp.log(jnp.where(counts, second.sum, 1.0) / num_positives), counts
        return second.losses / num_positives, counts

    def numbers(self, coefficients: Coefficients, statistics: list[Any], shares: jax.Array) -> _Numbers:
        """Factors of the terms of the gradient."""
        first, second = statistics
        weights = second.sum if self.inside else first.num_positives
        share = shares / jnp.where(shares != 0, weights, 1.0) / coefficients.temperature
        exponents = second.largest if self.inside else jnp.zeros_like(share)
        slopes = second.moment if self.inside else second.slopes
        total = jnp.where(first.negatives.sum > 0, first.negatives.sum, 1.0)
        negatives = Weights(first.negatives.largest, share * slopes / total)
        return _Numbers(Weights(exponents, share), negatives, first.negatives)

    def pair_gradient(
        self, coefficients: Coefficients, s: jax.Array, pairs: Pairs, numbers: _Numbers
    ) -> jax.Array:
        """a_i dL_i/ds_ij of the pairs of a tile."""
        positives, negatives, total = numbers
        push = negatives.share * jnp.exp((s - negatives.largest) / coefficients.temperature)
        if pairs.positive is None:
            return push
        x = _against_negatives(coefficients, s, total)
        pull = positives.share * jax.nn.sigmoid(x)
        if self.inside:
            pull *= jnp.exp(-jax.nn.softplus(x) - positives.largest)
        return weighted(pairs.negative, push) - weighted(pairs.positive, pull)

    def coefficient_gradients(
        self, coefficients: Coefficients, statistics: list[Any], shares: jax.Array, through_pairs: jax.Array
    ) -> Coefficients:
        """By the temperature, on which the loss depends through s_ij / t alone."""
        zero = jnp.zeros_like(coefficients.temperature)
        return Coefficients(-through_pairs / coefficients.temperature, zero, zero)
