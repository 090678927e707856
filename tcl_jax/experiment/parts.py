"""From a config to the parts of an experiment that need no data, so that mistakes are found before any are loaded."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh
from ml_collections import ConfigDict

from tcl_jax.augment.policies import Policy, make_policy
from tcl_jax.data import check_images_per_class
from tcl_jax.encoder.initial import read_initial
from tcl_jax.errors import UserError
from tcl_jax.evaluate.metrics import OF_FEATURES, Metric, resolve_metric, resolve_metrics
from tcl_jax.fields import flat_items
from tcl_jax.losses.arguments import best_block_size
from tcl_jax.models import make_encoder, takes, with_head
from tcl_jax.models.description import encoder_dtype
from tcl_jax.models.initial_encoder import InitialEncoder, check_description, fit_encoder
from tcl_jax.parallel import DATA_AXIS, check_divides
from tcl_jax.run.metrics_log import resolve_sinks
from tcl_jax.train.learning_rate import find_schedule
from tcl_jax.train.objective import Objective, make_objective
from tcl_jax.train.optimizer import Optimizer, make_optimizer
from tcl_jax.train.temperature import HIGHEST, LOWEST

BY_CLASS_FIELDS = "data.images_per_class", "train.batch_size"
"""What decides the batches by class."""


class Parts(NamedTuple):
    """Parts that are the same for any data.

    Attributes:
      mesh: the devices.
      encoder: without a head.
      synchronised: whether its BatchNorm shares its statistics over devices.
      initial_encoder: of model.init_from, where a run begins with one.
      objective, optimizer: of the training step.
      temperature_optimizer: the same by name and momentum, and no more; None where the temperature is not learned.
      policies: one for each view, by the names of augment.views.
      micro_batches: parts of a batch that go through the model one after the other.
      metrics: of the final evaluation, by what results call them.
      validation_metric: of the held-out images: what results call it, and the metric.
      sinks: where records go, beside metrics.jsonl.
    """

    mesh: Mesh
    encoder: nn.Module
    synchronised: bool
    initial_encoder: InitialEncoder | None
    objective: Objective
    optimizer: Optimizer
    temperature_optimizer: Optimizer | None
    policies: tuple[Policy, ...]
    micro_batches: int
    metrics: dict[str, Metric]
    validation_metric: tuple[str, Metric]
    sinks: dict[str, Callable[..., Any]]


def make_parts(config: ConfigDict, mesh: Mesh, *, begins: bool = False) -> Parts:
    """Make and check all that needs no data.

    Args:
      begins: whether the run begins, and so reads model.init_from.

    Raises:
      UserError: a field with a value that cannot be.
    """
    check_numbers(config)
    check_divides("train.batch_size", config.train.batch_size, mesh)
    check_divides("probe.batch_size", config.probe.batch_size, mesh)
    if config.data.images_per_class:
        check_images_per_class(config.data.images_per_class, config.train.batch_size, fields=BY_CLASS_FIELDS)
    _check_choice("train.not_finite", config.train.not_finite, ("stop", "skip"))
    find_schedule(config.train.schedule)
    encoder = make_encoder(
        config.model.name,
        stem=config.model.stem,
        width=config.model.width,
        axis_name=DATA_AXIS if config.model.sync_batch_norm else None,
        dtype=encoder_dtype(config.model.name, config.train.precision, mesh),
        remat=config.model.remat,
        dropout=config.model.dropout,
        drop_path=config.model.drop_path,
    )
    policies = tuple(
        make_policy(name, crop_padding=config.augment.crop_padding, flip=config.augment.flip)
        for name in config.augment.views
    )
    micro_batches, platform = _micro_batches(config, mesh), mesh.devices.flat[0].platform
    objective = make_objective(
        config.loss.name,
        labels=config.loss.labels,
        num_views=len(policies),
        micro_batches=micro_batches,
        # "auto" goes by the devices that are here, which those of a plan need not be.
        block_size="auto" if platform == jax.default_backend() else best_block_size(platform),
        weighted=config.data.images_per_class > 0,
        class_weights=config.loss.class_weights,
    )
    _check_loss(config, objective)
    make_same_optimizer = functools.partial(
        make_optimizer, config.train.optimizer, momentum=config.train.momentum, decay=config.train.decay
    )
    initial = None
    if begins and config.model.init_from:
        initial = read_initial(config.model.init_from, mesh)
        check_description(initial, config.model.name, stem=config.model.stem, width=config.model.width)
        # Of all that the weights must fit, only the number of channels needs the images.
        fit_encoder(initial, with_head(encoder, projection_dim=1), None)
    # What some runs have for metrics, and the metric that it is for, which need not be named.
    offered = {"logits": "classifier"} if objective.head == "classifier" else {}
    if config.evaluation.outliers.name:
        offered["outlier_features"] = "outlier_auroc"
    named = config.evaluation.metrics
    return Parts(
        mesh=mesh,
        encoder=encoder,
        synchronised=config.model.sync_batch_norm and takes(config.model.name, "axis_name"),
        initial_encoder=initial,
        objective=objective,
        optimizer=make_same_optimizer(
            weight_decay=config.train.weight_decay,
            clip_norm=config.train.clip_norm,
            layer_decay=config.train.layer_decay,
            layer_names=getattr(encoder, "layer_names", None),
        ),
        temperature_optimizer=make_same_optimizer(weight_decay=0.0)
        if config.loss.learn_temperature
        else None,
        policies=policies,
        micro_batches=micro_batches,
        metrics=resolve_metrics(
            (*named, *(metric for metric in offered.values() if metric not in named)),
            field="evaluation.metrics",
            available=(*OF_FEATURES, "train_probe", *offered),
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


def _check_loss(config: ConfigDict, objective: Objective) -> None:
    """Refuse a queue, a learned temperature or a classifier that does not go with the loss."""
    name, size = config.loss.name, config.loss.queue_size
    rows = config.train.batch_size * len(config.augment.views)
    if config.loss.learn_temperature and "temperature" not in objective.takes:
        raise UserError(
            f"loss.learn_temperature is True, but the loss '{name}' has no temperature: set it to False, or train with "
            "a loss that has one."
        )
    if config.loss.classifier_weight >= 0 and objective.head == "classifier":
        raise UserError(
            f"loss.classifier_weight is {config.loss.classifier_weight}, but the loss '{name}' already trains a "
            "classifier: set it to -1, or train with a contrastive loss."
        )
    if size and "references" not in objective.takes:
        raise UserError(
            f"loss.queue_size is {size}, but the loss '{name}' takes no 'references': set it to 0, or train with a "
            "loss that takes them."
        )
    if size % rows:
        raise UserError(
            f"loss.queue_size is {size}, expected a multiple of the {rows} rows of a batch (train.batch_size times the "
            f"views of augment.views): use {max(round(size / rows), 1) * rows}, the nearest, or 0 for no queue."
        )
    if config.loss.momentum_encoder and not size:
        raise UserError(
            f"loss.momentum_encoder is {config.loss.momentum_encoder}, but loss.queue_size is 0: set "
            "loss.queue_size, or loss.momentum_encoder to 0."
        )


_AT_LEAST_ONE = ("checkpoint.every_epochs", "log.every_steps", "probe.batch_size", "train.batch_size")
_LARGEST_FLOAT = float(np.finfo(np.float32).max)
# Of every number: whether it is a whole one, and its range, as far as that does not depend on the data.
_NUMBERS: dict[str, tuple[bool, Callable[[Any], bool], str]] = {
    **{field: (True, lambda x: x >= 1, "1 or more") for field in _AT_LEAST_ONE},
    **{
        field: (True, lambda x: 1 <= x <= 1_000_000, "1 to 1000000")
        for field in ("train.epochs", "probe.epochs")
    },
    **{
        field: (True, lambda x: 1 <= x <= 65_536, "1 to 65536")
        for field in ("model.width", "model.projection_dim")
    },
    **{
        field: (False, lambda x: 0 <= x < 1, "0 to less than 1")
        for field in ("model.dropout", "model.drop_path")
    },
    "augment.crop_padding": (True, lambda x: 0 <= x <= 1000, "0 to 1000 pixels"),
    "data.imbalance": (False, lambda x: x >= 1, "1 or more"),
    "data.label_noise": (False, lambda x: 0 <= x <= 1, "0 to 1"),
    "data.subset_seed": (True, lambda x: 0 <= x < 2**32, f"0 to {2**32 - 1}"),
    "data.train_images_of_class": (True, lambda x: x >= 0, "0 or more"),
    "data.images_per_class": (True, lambda x: x == 0 or 2 <= x <= 65_536, "2 to 65536, or 0 for none"),
    "data.image_size": (True, lambda x: 0 <= x <= 10_000, "0 to 10000 pixels"),
    "loss.queue_size": (True, lambda x: 0 <= x <= 16_777_216, "0 to 16777216 rows"),
    "seed": (True, lambda x: 0 <= x < 2**32, f"0 to {2**32 - 1}"),
    "train.micro_batch_size": (True, lambda x: x >= 0, "0 or more"),
    "train.warmup_epochs": (True, lambda x: x >= 0, "0 or more and below train.epochs"),
    "validation.images": (True, lambda x: x >= 0, "0 or more"),
    "loss.k1": (False, lambda x: x >= 0, "0 or more"),
    "loss.k2": (False, lambda x: x >= 0, "0 or more"),
    # A number below this has an inverse that float32 does not hold.
    **{
        field: (False, lambda x: x > 1 / _LARGEST_FLOAT, "a number above 0")
        for field in ("loss.temperature", "train.learning_rate", "probe.learning_rate")
    },
    "loss.classifier_weight": (False, lambda x: x >= 0 or x == -1, "0 or more, or -1 for none"),
    "loss.momentum_encoder": (False, lambda x: 0 <= x < 1, "0 or more and below 1"),
    "train.ema_decay": (False, lambda x: 0 <= x < 1, "0 or more and below 1"),
    "train.clip_norm": (False, lambda x: x >= 0, "0 or more"),
    "train.layer_decay": (False, lambda x: 0 < x <= 1, "above 0 and at most 1"),
    "train.momentum": (False, lambda x: 0 <= x < 1, "0 or more and below 1"),
    "train.weight_decay": (False, lambda x: x >= 0, "0 or more"),
}


def bounds() -> dict[str, str]:
    """The range of every number of a config, by the name of its field, as "1 or more"."""
    return {name: expected for name, (_, _, expected) in _NUMBERS.items()}


def check_numbers(config: ConfigDict) -> None:
    """Refuse fields without a value, names that are numbers, and numbers out of their range.

    Raises:
      UserError: such a field.
    """
    fields = dict(flat_items(config))
    for name, value in fields.items():
        if value is None and name not in _NUMBERS:
            raise UserError(f"{name} is None, expected a value: leave the field out for its default.")
        if isinstance(value, tuple) and not all(isinstance(each, str) for each in value):
            raise UserError(f"{name} is {value}, expected names, as in ('knn',).")
    for name, (whole, holds, expected) in _NUMBERS.items():
        value = fields[name]
        kind = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind) or not abs(value) <= _LARGEST_FLOAT:
            number = "a whole number" if whole else "a finite number of float32"
            raise UserError(f"{name} is {value!r}, expected {expected} ({number}).")
        if not holds(value):
            raise UserError(f"{name} is {value}, expected {expected}.")
    if fields["train.warmup_epochs"] >= fields["train.epochs"]:
        raise UserError(
            f"train.warmup_epochs is {fields['train.warmup_epochs']}, expected 0 or more and below train.epochs, which "
            f"is {fields['train.epochs']}: shorten the warm-up, or train longer."
        )
    if fields["loss.learn_temperature"] and not LOWEST <= fields["loss.temperature"] <= HIGHEST:
        raise UserError(
            f"loss.temperature is {fields['loss.temperature']}, expected {LOWEST} to {HIGHEST}, between which "
            "loss.learn_temperature keeps it: begin there, or set loss.learn_temperature to False."
        )


def _check_choice(field: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError(f"{field} is {value!r}, expected one of {', '.join(known)}.")
