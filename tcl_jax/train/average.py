"""The moving average of the weights, which is evaluated in place of the weights."""

from typing import Any

import jax
import jax.numpy as jnp


def update_average(average: Any, variables: Any, step: jax.Array, *, decay: float) -> Any:
    """The exponential moving average after step number `step`, counted from 0; trees of one structure.

        average = d average + (1 - d) variables,   d = min(decay, (1 + step) / (10 + step))

    The lower decay of the first steps forgets the initial values. Running statistics of BatchNorm are averaged as the
    weights are, so that both belong together.

    Args:
      decay: above 0 and below 1; some 1 / (1 - decay) steps have a say in the average.
    """
    number = jnp.asarray(step, jnp.result_type(float))
    # 1 - d, with 1 - decay taken in Python's 64 bits: near 1, float32 has few digits of it left.
    share = jnp.maximum(1 - decay, 9 / (10 + number))
    return jax.tree.map(lambda a, x: a + (share * (x - a)).astype(a.dtype), average, variables)
