"""From a config to the parts of an experiment that need no data, so that mistakes are found before any are loaded."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from flax import linen as nn
from jax.sharding import Mesh
from ml_collections import ConfigDict

from tcl_jax.augment.policies import Policy, make_policy
from tcl_jax.errors import UserError
from tcl_jax.evaluate.metrics import OF_FEATURES, Metric, resolve_metric, resolve_metrics
from tcl_jax.fields import flat_items
from tcl_jax.losses.contrastive import best_block_size
from tcl_jax.models import make_encoder, takes, with_head
from tcl_jax.models.description import encoder_dtype
from tcl_jax.models.initial_encoder import fit_encoder
from tcl_jax.models.tensor_file import read_tensors
from tcl_jax.parallel import DATA_AXIS, check_divides
from tcl_jax.run.metrics_log import resolve_sinks
from tcl_jax.train.objective import Objective, make_objective
from tcl_jax.train.optimizer import Optimizer, make_optimizer


class Parts(NamedTuple):
    """Parts that are the same for any data.

    Attributes:
      mesh: the devices.
      encoder: without a head.
      synchronised: whether its BatchNorm shares its statistics over devices.
      initial_tensors: of the file of model.init_from, where a run begins with one.
      objective, optimizer: of the training step.
      policies: one for each view, by the names of augment.views.
      micro_batches: parts of a batch that go through the model one after the other.
      metrics: of the final evaluation, by what results call them.
      validation_metric: of the held-out images: what results call it, and the metric.
      sinks: where records go, beside metrics.jsonl.
    """

    mesh: Mesh
    encoder: nn.Module
    synchronised: bool
    initial_tensors: Mapping[str, np.ndarray] | None
    objective: Objective
    optimizer: Optimizer
    policies: tuple[Policy, ...]
    micro_batches: int
    metrics: dict[str, Metric]
    validation_metric: tuple[str, Metric]
    sinks: dict[str, Callable[..., Any]]


def make_parts(config: ConfigDict, mesh: Mesh, *, begins: bool = False) -> Parts:
    """Make and check all that needs no data.

    Args:
      begins: whether the run begins, and so needs the file of model.init_from.

    Raises:
      UserError: a field with a value that cannot be.
    """
    check_numbers(config)
    check_divides("train.batch_size", config.train.batch_size, mesh)
    check_divides("probe.batch_size", config.probe.batch_size, mesh)
    _check_choice("train.not_finite", config.train.not_finite, ("stop", "skip"))
    encoder = make_encoder(
        config.model.name,
        stem=config.model.stem,
        width=config.model.width,
        axis_name=DATA_AXIS if config.model.sync_batch_norm else None,
        dtype=encoder_dtype(config.model.name, config.train.precision, mesh),
        remat=config.model.remat,
    )
    policies = tuple(
        make_policy(name, crop_padding=config.augment.crop_padding, flip=config.augment.flip)
        for name in config.augment.views
    )
    objective = make_objective(
        config.loss.name,
        labels=config.loss.labels,
        num_views=len(policies),
        block_size=best_block_size(mesh.devices.flat[0].platform),
    )
    tensors = None
    if begins and config.model.init_from:
        tensors = read_tensors(epath.Path(config.model.init_from).expanduser()).tensors
        # Of all that the file must fit, only the number of channels needs the images.
        fit_encoder(tensors, with_head(encoder, projection_dim=1), None, path=config.model.init_from)
    classifies = objective.head == "classifier"
    return Parts(
        mesh=mesh,
        encoder=encoder,
        synchronised=config.model.sync_batch_norm and takes(config.model.name, "axis_name"),
        initial_tensors=tensors,
        objective=objective,
        optimizer=make_optimizer(
            config.train.optimizer,
            momentum=config.train.momentum,
            weight_decay=config.train.weight_decay,
            decay=config.train.decay,
        ),
        policies=policies,
        micro_batches=_micro_batches(config, mesh),
        metrics=resolve_metrics(
            (*config.evaluation.metrics, *(["classifier"] if classifies else [])),
            field="evaluation.metrics",
            available=(*OF_FEATURES, "train_probe", *(["logits"] if classifies else [])),
        ),
        validation_metric=resolve_metric(
            config.validation.metric, field="validation.metric", available=OF_FEATURES
        ),
        sinks=resolve_sinks(config.log.to),
    )


def _micro_batches(config: ConfigDict, mesh: Mesh) -> int:
    """Into how many parts a batch is divided, whose size the devices divide."""
    batch_size, micro_batch_size = config.train.batch_size, config.train.micro_batch_size
    if micro_batch_size == 0:
        return 1
    check_divides("train.micro_batch_size", micro_batch_size, mesh)
    if batch_size % micro_batch_size:
        raise UserError(
            f"train.micro_batch_size is {micro_batch_size}, which does not divide train.batch_size {batch_size} into "
            "equal parts: use a divisor of it, or 0 for the whole batch at once."
        )
    return batch_size // micro_batch_size


_AT_LEAST_ONE = ("train.epochs", "probe.epochs", "checkpoint.every_epochs", "log.every_steps")
_BOUNDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **{field: (lambda x: x >= 1, "1 or more") for field in _AT_LEAST_ONE},
    "train.ema_decay": (lambda x: 0 <= x < 1, "0 or more and below 1"),
    "loss.temperature": (lambda x: x > 0, "a number above 0"),
    "loss.k1": (lambda x: x >= 0, "0 or more"),
    "loss.k2": (lambda x: x >= 0, "0 or more"),
    "seed": (lambda x: 0 <= x < 2**32, f"0 to {2**32 - 1}"),
}


def check_numbers(config: ConfigDict) -> None:
    """Refuse numbers for which no later part could give a better reason.

    Raises:
      UserError: a number out of its range.
    """
    fields = dict(flat_items(config))
    for name, value in fields.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name} is {value}, expected a finite number.")
    for name, (holds, expected) in _BOUNDS.items():
        if not holds(fields[name]):
            raise UserError(f"{name} is {fields[name]}, expected {expected}.")


def _check_choice(field: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"{field} is {value!r}, expected one of {', '.join(known)}.")
