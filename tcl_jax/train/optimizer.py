"""The optimizers, known ones and the user's own, and their learning rates."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tcl_jax.errors import UserError
from tcl_jax.resolve import arguments_of, resolve

DECAYS = ("all", "kernels")

# Of LARS: the value of its paper and of SimCLR's code.
_TRUST_COEFFICIENT = 0.001
_REFERENCE_BATCH_SIZE = 256


class Optimizer(NamedTuple):
    """How a step changes the parameters, at a learning rate that may be a traced value.

    Attributes:
      init: parameters -> its state.
      step: (gradients, state, parameters, learning rate) -> (new parameters, new state).
    """

    init: Callable[[Any], Any]
    step: Callable[[Any, Any, Any, Any], tuple[Any, Any]]


def make_optimizer(name: str, *, momentum: float, weight_decay: float, decay: str) -> Optimizer:
    """The optimizer called `name`.

    Args:
      name: "sgd", "lars", "adamw", or "module:attribute" of the user's own: an optax transformation, or a function that
        makes one of those of learning_rate, momentum, weight_decay and mask that it names, as "optax:lion". One that
        takes no weight_decay gets it as `sgd` has it, added to the gradient. One that takes no learning_rate makes a
        direction, as "optax:scale_by_adam"; the step subtracts the rate times it.
      momentum: 0 or more and below 1; beta_1 of adamw.
      weight_decay: 0 or more.
      decay: which parameters decay: "all", or "kernels", those of convolutions and linear layers alone.

    Raises:
      UserError: an unknown name or decay, a number out of range, or a part that does not make a transformation.
    """
    part = resolve(
        name,
        OPTIMIZERS,
        field="train.optimizer",
        example="'optax:lion', or my_optimizer.py with `def make(learning_rate): ...` that returns an optax "
        "transformation",
    )
    if name in OPTIMIZERS:
        return _with_rate(part(momentum=momentum, weight_decay=weight_decay, decay=decay))
    decayed = _weight_decay(weight_decay, decay)
    if isinstance(part, optax.GradientTransformation):
        return _with_rate(optax.chain(decayed, part))
    mask = _kernels if decay == "kernels" else None
    available = dict(learning_rate=0.0, momentum=momentum, weight_decay=weight_decay, mask=mask)
    options = arguments_of(part, available, field="train.optimizer")
    takes_rate = options.pop("learning_rate", None) is not None

    def make(learning_rate: Any = None) -> Any:
        rate = {"learning_rate": learning_rate} if takes_rate else {}
        own = part(**options, **rate)
        if not isinstance(own, optax.GradientTransformation):
            raise UserError(
                f"train.optimizer is {name!r}, which makes a {type(own).__name__}, expected an optax transformation, "
                "as optax.adamw makes."
            )
        return own if "weight_decay" in options else optax.chain(decayed, own)

    return _with_own_rate(make) if takes_rate else _with_rate(make())


def _with_rate(direction: optax.GradientTransformation) -> Optimizer:
    """An optimizer whose step is the rate times a direction that does not depend on it."""

    def step(gradients: Any, state: Any, params: Any, learning_rate: Any) -> tuple[Any, Any]:
        steepest, state = direction.update(gradients, state, params)
        return descend(params, steepest, learning_rate), state

    return Optimizer(direction.init, step)


def _with_own_rate(make: Callable[..., optax.GradientTransformation]) -> Optimizer:
    """An optimizer that has the rate within, anywhere."""
    transformation = optax.inject_hyperparams(make)(learning_rate=jnp.float32(0))
    make(learning_rate=0.0)  # refuses what is not a transformation

    def step(gradients: Any, state: Any, params: Any, learning_rate: Any) -> tuple[Any, Any]:
        rate = jnp.asarray(learning_rate, state.hyperparams["learning_rate"].dtype)
        state = state._replace(hyperparams={**state.hyperparams, "learning_rate": rate})
        updates, state = transformation.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    return Optimizer(transformation.init, step)


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


def adamw(*, momentum: float, weight_decay: float, decay: str = "all") -> optax.GradientTransformation:
    """The direction of AdamW, before the learning rate.

        m = b1 m + (1 - b1) g,   v = b2 v + (1 - b2) g^2,   update = m' / (sqrt(v') + 1e-8) + weight_decay parameter

    with b1 = momentum, b2 = 0.999, and m', v' divided by 1 - b1^t and 1 - b2^t at step t.

    Args:
      decay: "all" or "kernels", as for `make_optimizer`.

    Raises:
      UserError: momentum outside [0, 1), a negative weight_decay, or an unknown decay.

    Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization, arXiv 1711.05101.
    """
    _check_momentum(momentum)
    return optax.chain(optax.scale_by_adam(b1=momentum), _weight_decay(weight_decay, decay))


OPTIMIZERS = {"sgd": sgd, "lars": lars, "adamw": adamw}
"""Directions by name: functions of momentum, weight_decay and decay."""


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


def learning_rates(
    peak: float, *, total_steps: int, warmup_steps: int = 0, field: str = "train.learning_rate"
) -> np.ndarray:
    """The learning rate of every step: float32 [total_steps].

    Rises linearly from 0 to `peak` over `warmup_steps`, then falls on a cosine to peak / 1000:

        rate(s) = low + (peak - low) (1 + cos(pi (s - warmup) / (total - warmup))) / 2,   low = peak / 1000

    Args:
      field: the config field of the peak, for messages.

    Raises:
      UserError: a peak that is not above 0, or a warm-up that leaves no step for the cosine.
    """
    if not peak > 0:
        raise UserError(f"{field} is {peak}, expected a number above 0.")
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
        raise UserError(f"train.momentum is {momentum}, expected 0 or more and below 1.")


def _weight_decay(weight_decay: float, decay: str) -> optax.GradientTransformation:
    if not weight_decay >= 0:
        raise UserError(f"train.weight_decay is {weight_decay}, expected 0 or more.")
    if decay not in DECAYS:
        raise UserError(f"train.decay is '{decay}', expected one of {', '.join(DECAYS)}.")
    return optax.add_decayed_weights(weight_decay, mask=_kernels if decay == "kernels" else None)


def _kernels(tree: Any) -> Any:
    """Which leaves are kernels of convolutions and linear layers: not biases, nor BatchNorm's scales."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, tree)
