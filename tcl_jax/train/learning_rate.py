"""The learning rate of every step: a rule for the size of a batch, a warm-up, and a schedule by name."""

import itertools
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from tcl_jax.errors import UserError, in_short
from tcl_jax.resolve import arguments_of, resolve

_REFERENCE_BATCH_SIZE = 256
_FIELD = "train.schedule"
_ARGUMENTS = ("init_value", "decay_steps", "steps_per_epoch", "warmup_steps")


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


def cosine(init_value: float, decay_steps: int) -> optax.Schedule:
    """Falls on a cosine to a thousandth.

    rate(s) = low + (init_value - low) (1 + cos(pi s / decay_steps)) / 2,   low = init_value / 1000
    """
    return optax.cosine_decay_schedule(init_value, decay_steps, alpha=(init_value / 1000) / init_value)


def linear(init_value: float, decay_steps: int) -> optax.Schedule:
    """Falls on a line to a thousandth: rate(s) = low + (init_value - low) (1 - s / decay_steps)."""
    return optax.linear_schedule(init_value, init_value / 1000, decay_steps)


def constant(init_value: float) -> optax.Schedule:
    """Stays: rate(s) = init_value."""
    return optax.constant_schedule(init_value)


def step(
    init_value: float,
    decay_steps: int,
    steps_per_epoch: int,
    warmup_steps: int,
    *,
    factor: float,
    epochs: tuple[int, ...],
) -> optax.Schedule:
    """init_value factor^k once k of the `epochs`, which count from the beginning of training, have passed.

    Raises:
      UserError: an epoch that is not after the warm-up, or not before the end.

    Source: `adjust_learning_rate` of the code of Khosla et al., arXiv 2004.11362, without its option cosine.
    """
    starts = {epoch * steps_per_epoch - warmup_steps: factor for epoch in epochs}
    if not 0 < min(starts) <= max(starts) < decay_steps:
        first, end = warmup_steps // steps_per_epoch, (warmup_steps + decay_steps) // steps_per_epoch
        raise UserError(
            f"{_FIELD} has steps after {', '.join(map(str, epochs))} epochs, expected epochs above "
            f"train.warmup_epochs, {first}, and below train.epochs, {end}: change them, or train longer."
        )
    return optax.piecewise_constant_schedule(init_value, starts)


SCHEDULES: dict[str, Callable[..., optax.Schedule]] = {
    "cosine": cosine,
    "linear": linear,
    "constant": constant,
    "step(factor,epoch,...)": step,
}
"""What follows the warm-up, by name: functions of init_value, and those that they name of decay_steps, steps_per_epoch
and warmup_steps, which make an optax schedule that counts from the end of the warm-up."""


def find_schedule(name: str) -> Callable[..., optax.Schedule]:
    """The function that makes the schedule called `name`, as those of `SCHEDULES`.

    Args:
      name: one of `SCHEDULES`, with numbers for step as in "step(0.1,700,800,900)", or "module:attribute" of the user's
        own, as "optax:cosine_decay_schedule".

    Raises:
      UserError: an unknown name, numbers of step that cannot be, or a function that takes other arguments.
    """
    if re.fullmatch(r"step(\(.*\))?", name):
        return partial(step, **_numbers_of_step(name))
    make = resolve(
        name,
        SCHEDULES,
        field=_FIELD,
        example="'optax:cosine_decay_schedule', or my_schedule.py with `def make(init_value, decay_steps): ...` that "
        "returns an optax schedule",
    )
    if "init_value" not in arguments_of(make, dict.fromkeys(_ARGUMENTS), field=_FIELD):
        raise UserError(
            f"{_FIELD} is {name!r}, which takes no 'init_value', expected a function of the rate that it begins at: "
            "take it, so that train.learning_rate has an effect."
        )
    return make


def learning_rates(
    peak: float,
    *,
    total_steps: int,
    warmup_steps: int = 0,
    schedule: str = "cosine",
    steps_per_epoch: int = 1,
    field: str = "train.learning_rate",
) -> np.ndarray:
    """The learning rate of every step: float32 [total_steps].

    Rises linearly from 0 to `peak` over `warmup_steps`, then follows the schedule from there to the end.

    Args:
      schedule: as for `find_schedule`.
      field: the config field of the peak, for messages.

    Raises:
      UserError: a peak that is not above 0, a warm-up that leaves no step for the schedule, or a schedule that is
        unknown or does not give a rate for every step.
    """
    if not peak > 0:
        raise UserError(f"{field} is {peak}, expected a number above 0.")
    if not 0 <= warmup_steps < total_steps:
        raise UserError(
            f"The warm-up takes {warmup_steps} of {total_steps} steps, expected 0 or more and fewer than all: "
            "change train.warmup_epochs or train.epochs."
        )
    rise = optax.linear_schedule(0.0 if warmup_steps else peak, peak, warmup_steps)
    after = _make(
        schedule,
        init_value=peak,
        decay_steps=total_steps - warmup_steps,
        steps_per_epoch=steps_per_epoch,
        warmup_steps=warmup_steps,
    )
    rates = np.asarray(
        optax.join_schedules([rise, after], [warmup_steps])(jnp.arange(total_steps)), np.float32
    )
    if not np.all((rates >= 0) & np.isfinite(rates)):
        wrong = int(np.argmin((rates >= 0) & np.isfinite(rates)))
        raise UserError(
            f"{_FIELD} is {schedule!r}, whose rate at step {wrong} is {rates[wrong]}, expected a finite number, 0 or "
            "more: correct the schedule."
        )
    return rates


def _make(name: str, **available: Any) -> optax.Schedule:
    """The schedule called `name`, which gives a rate for each of an array of steps."""
    make = find_schedule(name)
    options = arguments_of(make, available, field=_FIELD)
    try:
        schedule = make(**options)
        shape = jnp.shape(schedule(jnp.arange(2)))
    except UserError:
        raise
    except Exception as error:  # whatever a mistake in the user's function raises
        raise UserError(
            f"{_FIELD} is {name!r}, which does not make an optax schedule ({in_short(error).rstrip('.')}), expected a "
            "function of an array of steps that gives their rates, as optax.cosine_decay_schedule makes."
        ) from error
    if shape not in ((), (2,)):
        raise UserError(
            f"{_FIELD} is {name!r}, whose schedule gives an array of shape {list(shape)} for 2 steps, expected [2]: "
            "give one rate for each step."
        )
    return schedule


def _numbers_of_step(name: str) -> dict[str, Any]:
    match = re.fullmatch(r"step\(\s*(\d*\.?\d+)\s*((?:,\s*\d{1,7}\s*)+)\)", name)
    if match is None:
        raise UserError(
            f"{_FIELD} is {name!r}, expected 'step(factor,epoch,...)' with a factor and whole numbers of epochs, as in "
            "'step(0.1,700,800,900)'."
        )
    factor, epochs = float(match[1]), tuple(int(epoch) for epoch in match[2][1:].split(","))
    if not 0 < factor <= 1 or any(a >= b for a, b in itertools.pairwise(epochs)):
        raise UserError(
            f"{_FIELD} is {name!r}, expected a factor above 0 and at most 1, and epochs in rising order, as in "
            "'step(0.1,700,800,900)'."
        )
    return {"factor": factor, "epochs": epochs}
