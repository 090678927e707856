"""The optimizers and their learning rates."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tcl_jax.errors import UserError

OPTIMIZER_NAMES = ("sgd", "lars")
DECAYS = ("all", "kernels")

# Of LARS: the value of its paper and of SimCLR's code.
_TRUST_COEFFICIENT = 0.001

# Images per step for which a learning rate is given that is to be scaled.
_REFERENCE_BATCH_SIZE = 256


def make_optimizer(
    name: str, *, momentum: float, weight_decay: float, decay: str
) -> optax.GradientTransformation:
    """The optimizer called `name`: "sgd" or "lars", which give a direction; `descend` takes the step along it.

    Args:
      momentum: 0 or more and below 1.
      weight_decay: 0 or more.
      decay: which parameters decay: "all", or "kernels", those of convolutions and linear layers alone.

    Raises:
      UserError: an unknown name or decay, or a number out of range.
    """
    if name not in OPTIMIZER_NAMES:
        raise UserError(
            f"There is no optimizer '{name}' for train.optimizer, expected one of {', '.join(OPTIMIZER_NAMES)}."
        )
    make = lars if name == "lars" else sgd
    return make(momentum=momentum, weight_decay=weight_decay, decay=decay)


def sgd(*, momentum: float, weight_decay: float, decay: str = "all") -> optax.GradientTransformation:
    """The direction that torch.optim.SGD takes, before the learning rate.

        v = momentum v + (gradient + weight_decay parameter),   update = v

    `descend` subtracts learning_rate * update, so that the rate can be a traced value. By default weight decay applies
    to every parameter, biases and BatchNorm included, as in the papers' code.

    Args:
      decay: "all" or "kernels", as for `make_optimizer`.

    Raises:
      UserError: momentum outside [0, 1), a negative weight_decay, or an unknown decay.
    """
    _check_momentum(momentum)
    return optax.chain(_weight_decay(weight_decay, decay), optax.trace(decay=momentum))


def lars(*, momentum: float, weight_decay: float, decay: str = "all") -> optax.GradientTransformation:
    """Layer-wise adaptive rate scaling: the step of each kernel w is in proportion to |w|, before the learning rate.

        u = gradient + weight_decay w,   v = momentum v + 0.001 |w| / |u| u,   update = v

    with Euclidean norms over a whole kernel. The ratio is 1 where |w| or |u| is 0. Biases and BatchNorm parameters are
    never scaled by it, whatever `decay` says of them: v = momentum v + u, as in SimCLR's code. `descend` subtracts
    learning_rate * update, so that the rate can be a traced value; the paper has the rate inside the momentum, which is
    the same step while the rate stays constant.

    Args:
      decay: "all" or "kernels", as for `make_optimizer`.

    Raises:
      UserError: momentum outside [0, 1), a negative weight_decay, or an unknown decay.

    Source: You et al., Large Batch Training of Convolutional Networks, arXiv 1708.03888, with the norm of u in place of
      |gradient| + weight_decay |w|, as in SimCLR (arXiv 2002.05709) and Optax.
    """
    _check_momentum(momentum)
    trust_ratio = optax.scale_by_trust_ratio(trust_coefficient=_TRUST_COEFFICIENT)
    return optax.chain(
        _weight_decay(weight_decay, decay), optax.masked(trust_ratio, _kernels), optax.trace(decay=momentum)
    )


def scaled_learning_rate(learning_rate: float, *, rule: str, batch_size: int) -> float:
    """The learning rate for `batch_size` images per step, of one that is for 256.

        "none": rate,   "linear": rate batch_size / 256,   "sqrt": rate sqrt(batch_size / 256)

    Raises:
      UserError: an unknown rule.

    Sources: linear: Goyal et al., Accurate, Large Minibatch SGD, arXiv 1706.02677. sqrt: Krizhevsky, One weird trick
      for parallelizing convolutional neural networks, arXiv 1404.5997. SimCLR, arXiv 2002.05709, has both.
    """
    ratio = batch_size / _REFERENCE_BATCH_SIZE
    factors = {"none": 1.0, "linear": ratio, "sqrt": math.sqrt(ratio)}
    if rule not in factors:
        raise UserError(f"train.learning_rate_scaling is '{rule}', expected one of {', '.join(factors)}.")
    return learning_rate * factors[rule]


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


def _check_momentum(momentum: float) -> None:
    if not 0 <= momentum < 1:
        raise UserError(f"The momentum is {momentum}, expected 0 or more and below 1.")


def _weight_decay(weight_decay: float, decay: str) -> optax.GradientTransformation:
    if not weight_decay >= 0:
        raise UserError(f"The weight decay is {weight_decay}, expected 0 or more.")
    if decay not in DECAYS:
        raise UserError(f"train.decay is '{decay}', expected one of {', '.join(DECAYS)}.")
    return optax.add_decayed_weights(weight_decay, mask=_kernels if decay == "kernels" else None)


def _kernels(tree: Any) -> Any:
    """Which leaves are kernels of convolutions and linear layers: not biases, nor BatchNorm's scales."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, tree)
