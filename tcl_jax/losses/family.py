"""What the engine needs to know of one loss.

The engine visits pairs in tiles, on all devices, and handles weights and cotangents. A member of the family gives the
formulas, in three pieces: what a pass over the pairs collects for each anchor, the loss of an anchor from that, and the
derivative of its loss by the similarity of each of its pairs. All of them are row by row: arrays [m], one number for
each anchor; in a tile of pairs such numbers broadcast against the similarities.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from tcl_jax.losses.pairs import Pairs


class Pass(NamedTuple):
    """One pass over all pairs.

    Attributes:
      empty: dtype -> statistics of an anchor without pairs, a tree of scalars.
      collect: (coefficients, s, pairs, known, axis) -> statistics of the anchors of a tile over its pairs, summed along
        `axis` of s, which is 1 where rows are anchors and 0 where columns are. `known` holds what earlier passes have
        collected: a list of trees that broadcast against s.
      merge: (coefficients, statistics, statistics) -> statistics over the pairs of both.
    """

    empty: Callable[[jnp.dtype], Any]
    collect: Callable[[Any, jax.Array, Pairs, list[Any], int], Any]
    merge: Callable[[Any, Any, Any], Any]


class Family(Protocol):
    """A member: immutable and hashable, as it is compiled into the program.

    `statistics` is the list of what its passes have collected, arrays [m]; `coefficients` a tree of scalars.
    """

    @property
    def passes(self) -> tuple[Pass, ...]:
        """The passes over the pairs, in order."""
        ...

    def losses(self, coefficients: Any, statistics: list[Any]) -> tuple[jax.Array, jax.Array]:
        """L_i, and whether the anchor counts, bool; L_i may be anything finite where it does not."""
        ...

    def numbers(self, coefficients: Any, statistics: list[Any], shares: jax.Array) -> Any:
        """What the gradient needs of each anchor: a tree of arrays [m], from a_i = `shares`, 0 where none counts."""
        ...

    def pair_gradient(self, coefficients: Any, s: jax.Array, pairs: Pairs, numbers: Any) -> jax.Array:
        """a_i dL_i/ds_ij of the pairs of a tile."""
        ...

    def coefficient_gradients(
        self, coefficients: Any, statistics: list[Any], shares: jax.Array, through_pairs: jax.Array
    ) -> Any:
        """sum_i a_i dL_i/dc for every coefficient c; through_pairs is sum_ij a_i s_ij dL_i/ds_ij over all pairs."""
        ...
