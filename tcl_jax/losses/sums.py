"""Sums of exponentials of any size, and the weights that their terms have in a gradient."""

import operator
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tcl_jax.losses.pairs import Pairs, weighted


class ScaledSum(NamedTuple):
    """Sums of exp(r x), [m] each: exp(r * largest) * sum, with the largest x of each row; r is a rate, as 1/t.

    The exponents are r (x - largest), in which the difference of near numbers is exact; and one number log(sum) would
    not do in float32, as its rounding error shifts all weights of a row the same way. Where a class is tight the
    gradient is a small difference of such sums.
    """

    largest: jax.Array
    sum: jax.Array


class Weights(NamedTuple):
    """Factors of exp(r (x - largest)) in a gradient, [m] each: `largest` as in `ScaledSum`."""

    largest: jax.Array
    share: jax.Array


def no_sum(dtype: jnp.dtype) -> ScaledSum:
    """The sum of no terms."""
    return ScaledSum(jnp.asarray(lowest(dtype), dtype), jnp.zeros((), dtype))


def add(x: ScaledSum, y: ScaledSum, rate: jax.Array | float) -> ScaledSum:
    """The sum of the terms of both."""
    both = jnp.maximum(x.largest, y.largest)
    return ScaledSum(
        both, operator.add(*(part.sum * jnp.exp(rate * (part.largest - both)) for part in (x, y)))
    )


def largest(x: jax.Array, weights: jax.Array | None, axis: int) -> jax.Array:
    """Largest x of weight above 0 along the axis, which is kept with length 1."""
    if weights is not None:
        x = jnp.where(weights if weights.dtype == bool else weights > 0, x, -jnp.inf)
    return jnp.maximum(jnp.max(x, axis, keepdims=True), lowest(x.dtype))


def scaled_sum(largest: jax.Array, terms: jax.Array, weights: jax.Array | None, axis: int) -> ScaledSum:
    """Sum of weighted terms exp(r (x - largest)) along the axis."""
    return ScaledSum(largest.squeeze(axis), jnp.sum(weighted(weights, terms), axis))


def exponentials(
    x: jax.Array, rate: jax.Array, pairs: Pairs, of_positives: jax.Array, of_negatives: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """exp(rate (x - largest)) of positive and of negative pairs, each less the largest x of its own kind."""
    if (
        pairs.positive is not None and pairs.positive.dtype == bool
    ):  # a pair is of one kind: one exponential will do
        both = jnp.exp(rate * (x - jnp.where(pairs.positive, of_positives, of_negatives)))
        return both, both
    return jnp.exp(rate * (x - of_positives)), jnp.exp(rate * (x - of_negatives))


def bounded_exp(x: jax.Array) -> jax.Array:
    """exp(x), so bounded that sums over rows stay finite.

    The derivative by k1 at k1 = 0 (by k2 at k2 = 0) can truly be e^101 and more, which float32 does not hold; as an
    infinity it would turn a cotangent of 0 into NaN.
    """
    return jnp.exp(jnp.minimum(x, jnp.log(jnp.finfo(x.dtype).max) - 3.0 * jnp.log(float(x.size))))


def lowest(dtype: jnp.dtype) -> float:
    """The largest x of an empty sum: finite, for -inf less -inf is NaN."""
    return float(jnp.finfo(dtype).min) / 4
