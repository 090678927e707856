"""Stochastic gradient descent and its learning rates."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tcl_jax.errors import UserError


def sgd(*, momentum: float, weight_decay: float) -> optax.GradientTransformation:
    """The direction that torch.optim.SGD takes, before the learning rate.

        v = momentum v + (gradient + weight_decay parameter),   update = v

    `descend` subtracts learning_rate * update, so that the rate can be a traced value. Weight decay applies to every
    parameter, biases and BatchNorm included, as in the papers' code.

    Raises:
      UserError: momentum outside [0, 1) or a negative weight_decay.
    """
    if not 0 <= momentum < 1:
        raise UserError(f"The momentum is {momentum}, expected 0 or more and below 1.")
    if not weight_decay >= 0:
        raise UserError(f"The weight decay is {weight_decay}, expected 0 or more.")
    return optax.chain(optax.add_decayed_weights(weight_decay), optax.trace(decay=momentum))


def descend(params: Any, direction: Any, learning_rate: Any) -> Any:
    """The parameters after a step along `direction`, of the same dtypes as before: trees of one structure."""
    return jax.tree.map(lambda p, d: p - (learning_rate * d).astype(p.dtype), params, direction)


def learning_rates(peak: float, *, total_steps: int, warmup_steps: int = 0) -> np.ndarray:
    """The learning rate of every step: float32 [total_steps].

    Rises linearly from 0 to `peak` over `warmup_steps`, then falls on a cosine to peak / 1000:

        rate(s) = low + (peak - low) (1 + cos(pi (s - warmup) / (total - warmup))) / 2,   low = peak / 1000

    Raises:
      UserError: a peak that is not above 0, or a warm-up that leaves no step for the cosine.
    """
    if not peak > 0:
        raise UserError(f"The learning rate is {peak}, expected a number above 0.")
    if not 0 <= warmup_steps < total_steps:
        raise UserError(
            f"The warm-up takes {warmup_steps} of {total_steps} steps, expected 0 or more and fewer than all: "
            "change train.warmup_epochs or train.epochs."
        )
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0 if warmup_steps else peak,
        peak_value=peak,
        warmup_steps=warmup_steps,
        decay_steps=total_steps,
        end_value=peak / 1000,
    )
    return np.asarray(schedule(jnp.arange(total_steps)), np.float32)
