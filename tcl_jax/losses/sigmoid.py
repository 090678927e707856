"""Every pair by itself: SigLIP.

x_ij = scale s_ij + bias
L_i = sum_j p_ij log[1 + exp(-x_ij)] + q_ij log[1 + exp(x_ij)]
dL_i/ds_ij = scale [q_ij f(x_ij) - p_ij f(-x_ij)]            f the logistic function
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from tcl_jax.losses.family import Pass
from tcl_jax.losses.pairs import Pairs, weighted


class Affine(NamedTuple):
    """Scalars in the dtype of the computation."""

    scale: jax.Array
    bias: jax.Array


class _Statistics(NamedTuple):
    """L_i, and the sum of dL_i/dx_ij."""

    losses: jax.Array
    slopes: jax.Array


def _collect(coefficients: Affine, s: jax.Array, pairs: Pairs, known: list[Any], axis: int) -> _Statistics:
    x = coefficients.scale * s + coefficients.bias
    losses = weighted(pairs.negative, jax.nn.softplus(x))
    if pairs.positive is not None:
        losses += weighted(pairs.positive, jax.nn.softplus(-x))
    return _Statistics(jnp.sum(losses, axis), jnp.sum(_slopes(x, pairs), axis))


def _slopes(x: jax.Array, pairs: Pairs) -> jax.Array:
    """dL_i/dx_ij."""
    slopes = weighted(pairs.negative, jax.nn.sigmoid(x))
    return slopes if pairs.positive is None else slopes - weighted(pairs.positive, jax.nn.sigmoid(-x))


@dataclasses.dataclass(frozen=True)
class Sigmoid:
    """SigLIP (Zhai et al., arXiv 2303.15343)."""

    passes: ClassVar[tuple[Pass, ...]] = (
        Pass(
            lambda dtype: _Statistics(jnp.zeros((), dtype), jnp.zeros((), dtype)),
            _collect,
            lambda coefficients, a, b: jax.tree.map(jnp.add, a, b),
        ),
    )

    def losses(self, coefficients: Affine, statistics: list[Any]) -> tuple[jax.Array, jax.Array]:
        """L_i; every live row counts."""
        (sums,) = statistics
        return sums.losses, jnp.ones_like(sums.losses, bool)

    def numbers(self, coefficients: Affine, statistics: list[Any], shares: jax.Array) -> jax.Array:
        """The factor of dL_i/dx_ij."""
        return shares * coefficients.scale

    def pair_gradient(
        self, coefficients: Affine, s: jax.Array, pairs: Pairs, numbers: jax.Array
    ) -> jax.Array:
        """a_i dL_i/ds_ij of the pairs of a tile."""
        return numbers * _slopes(coefficients.scale * s + coefficients.bias, pairs)

    def coefficient_gradients(
        self, coefficients: Affine, statistics: list[Any], shares: jax.Array, through_pairs: jax.Array
    ) -> Affine:
        """By the scale, on which the loss depends through scale * s_ij alone; by the bias."""
        (sums,) = statistics
        return Affine(through_pairs / coefficients.scale, jnp.sum(shares * sums.slopes))
