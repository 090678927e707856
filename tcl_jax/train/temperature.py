"""A temperature that is learned with the parameters."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from tcl_jax.train.optimizer import Optimizer

LOWEST, HIGHEST = 0.01, 1.0


class LearnedTemperature(NamedTuple):
    """The temperature t = t_0 exp(r), kept between `LOWEST` and `HIGHEST`, with t_0 that of the config.

    Attributes:
      variable: {"log_ratio": r}, float scalar, 0 at first.
      opt_state: the optimizer's of it.
    """

    variable: dict[str, jax.Array]
    opt_state: Any

    def step(
        self, optimizer: Optimizer, gradient: Any, learning_rate: Any, initial: Any
    ) -> "LearnedTemperature":
        """The temperature after a step of the optimizer.

        Args:
          gradient: by `variable`.
          initial: t_0.
        """
        variable, opt_state = optimizer.step(gradient, self.opt_state, self.variable, learning_rate)
        low, high = (jnp.log(bound / initial) for bound in (LOWEST, HIGHEST))
        variable = jax.tree.map(lambda r: jnp.clip(r, low, high).astype(r.dtype), variable)
        return LearnedTemperature(variable, opt_state)


def begin_temperature(optimizer: Optimizer) -> LearnedTemperature:
    """The temperature before the first step, that of the config."""
    variable = {"log_ratio": jnp.zeros(())}
    return LearnedTemperature(variable, optimizer.init(variable))


def temperature_of(variable: dict[str, jax.Array], initial: Any) -> jax.Array:
    """t_0 exp(r)."""
    return initial * jnp.exp(variable["log_ratio"])
