"""The optimizers, known ones and the user's own, with clipped gradients and learning rates by depth of layer."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tcl_jax.errors import UserError
from tcl_jax.resolve import arguments_of, resolve
from tcl_jax.train.layer_decay import scale_by_layer

DECAYS = ("all", "kernels")

# Of LARS: the value of its paper and of SimCLR's code.
_TRUST_COEFFICIENT = 0.001


class Optimizer(NamedTuple):
    """How a step changes the parameters, at a learning rate that may be a traced value.

    Attributes:
      init: parameters -> its state.
      step: (gradients, state, parameters, learning rate) -> (new parameters, new state).
    """

    init: Callable[[Any], Any]
    step: Callable[[Any, Any, Any, Any], tuple[Any, Any]]


def make_optimizer(
    name: str,
    *,
    momentum: float,
    weight_decay: float,
    decay: str,
    clip_norm: float = 0.0,
    layer_decay: float = 1.0,
    layer_names: Sequence[Sequence[str]] | None = None,
) -> Optimizer:
    """The optimizer called `name`.

    Args:
      name: "sgd", "lars", "adamw", or "module:attribute" of the user's own: an optax transformation, or a function that
        makes one of those of learning_rate, momentum, weight_decay and mask that it names, as "optax:lion". One that
        takes no weight_decay gets it as `sgd` has it, added to the gradient. One that takes no learning_rate makes a
        direction, as "optax:scale_by_adam"; the step subtracts the rate times it.
      momentum: 0 or more and below 1; beta_1 of adamw.
      weight_decay: 0 or more.
      decay: which parameters decay: "all", or "kernels", those of convolutions and linear layers alone.
      clip_norm: gradients whose Euclidean norm over all parameters is larger are scaled to it; 0 leaves them.
      layer_decay: above 0 and at most 1; the rate of layer i of L, from 0 on, is learning rate * layer_decay^(L - i).
      layer_names: the L layers of the encoder in order, each as the names of its modules and parameters, as
        `ResNet.layer_names`; "a/b" is what a module "a" calls "b". All others, and the head, have the learning rate.

    Raises:
      UserError: an unknown name or decay, a number out of range, a part that does not make a transformation, or a
        layer_decay below 1 without layer_names. `Optimizer.init` raises it for layers that the encoder does not have.
    """
    around = _around(clip_norm, layer_decay, layer_names)
    part = resolve(
        name,
        OPTIMIZERS,
        field="train.optimizer",
        example="'optax:lion', or my_optimizer.py with `def make(learning_rate): ...` that returns an optax "
        "transformation",
    )
    if name in OPTIMIZERS:
        return _with_rate(around(part(momentum=momentum, weight_decay=weight_decay, decay=decay)))
    decayed = _weight_decay(weight_decay, decay)
    if isinstance(part, optax.GradientTransformation):
        return _with_rate(around(optax.chain(decayed, part)))
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
        return around(own if "weight_decay" in options else optax.chain(decayed, own))

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


def descend(params: Any, direction: Any, learning_rate: Any) -> Any:
    """The parameters after a step along `direction`, of the same dtypes as before: trees of one structure."""
    return jax.tree.map(lambda p, d: p - (learning_rate * d).astype(p.dtype), params, direction)


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
    """Which leaves are kernels of convolutions and linear layers, by Flax's name for them.

    Their axes do not say it: class tokens, position embeddings and the biases of attention have several too.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, _: bool(path) and getattr(path[-1], "key", None) == "kernel", tree
    )


def _around(
    clip_norm: float, layer_decay: float, layer_names: Sequence[Sequence[str]] | None
) -> Callable[[optax.GradientTransformation], optax.GradientTransformation]:
    """What clips gradients before a transformation and scales its updates after it; nothing where neither is set."""
    if not clip_norm >= 0:
        raise UserError(f"train.clip_norm is {clip_norm}, expected 0 or more.")
    before = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []
    after = [scale_by_layer(layer_decay, layer_names)] if layer_decay != 1 else []
    if not before and not after:  # not a chain of one, whose state is another
        return lambda transformation: transformation
    return lambda transformation: optax.chain(*before, transformation, *after)
