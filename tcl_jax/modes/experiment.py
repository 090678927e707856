"""From a config to the parts of an experiment: the only place where config fields are read."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from tcl_jax.augment import make_policy, make_views
from tcl_jax.augment.views import Views
from tcl_jax.data import Dataset, Division, divide, load_dataset, steps_per_epoch
from tcl_jax.errors import UserError
from tcl_jax.evaluate import make_encode, make_validate
from tcl_jax.evaluate.features import Encode
from tcl_jax.evaluate.validation import Validate
from tcl_jax.models import ContrastiveModel, check_image_size, make_model
from tcl_jax.modes.fields import flat_items
from tcl_jax.parallel import DATA_AXIS, check_divides, make_mesh, replicate
from tcl_jax.train.loop import Course
from tcl_jax.train.objective import make_objective
from tcl_jax.train.optimizer import learning_rates, sgd
from tcl_jax.train.state import Hyper, TrainState, create_state
from tcl_jax.train.step import TrainStep, make_train_step

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The parts that training and evaluation are made of.

    Attributes:
      dataset: training and test split.
      division: which images of the training split contrastive training sees, and which are held out.
      mean, std: [c], of the training pixels divided by 255.
      mesh: all devices.
      model: encoder and projection head.
      encode: the compiled encoder, for `tcl_jax.evaluate`.
      validate: the kNN accuracy of the held-out images; None where none are held out.
      step, hyper, course: for `tcl_jax.train.loop.train`.
      initial_state: makes the state before the first step.
      views: one augmented view per image by each policy of augment.views, as training sees them.
      policy_names: of those.
      probe_views: one augmented view per image, by the first policy of augment.views.
      probe: epochs, learning_rate and batch_size of the linear probe.
      seed: of all randomness.
      loss_name: for the results.
    """

    dataset: Dataset
    division: Division
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mesh: Mesh
    model: ContrastiveModel
    encode: Encode
    validate: Validate | None
    step: TrainStep
    hyper: Hyper
    course: Course
    initial_state: Callable[[], TrainState]
    views: Views
    policy_names: tuple[str, ...]
    probe_views: Views
    probe: dict[str, Any]
    seed: int
    loss_name: str


def build_experiment(config: ConfigDict) -> Experiment:
    """Read and check every field of `config`, load the data, and build the parts. Nothing is written.

    Raises:
      UserError: a field with a value that cannot be, or data that cannot be used.
    """
    mesh = make_mesh()
    _check_numbers(config)
    # What costs nothing to check comes before the data are loaded.
    check_divides("train.batch_size", config.train.batch_size, mesh)
    check_divides("probe.batch_size", config.probe.batch_size, mesh)
    make = dict(crop_padding=config.augment.crop_padding, flip=config.augment.flip)
    policies = [make_policy(name, **make) for name in config.augment.views]
    objective = make_objective(config.loss.name, labels=config.loss.labels, num_views=len(policies))
    dtype = _compute_dtype(config.train.precision)
    optimizer = sgd(momentum=config.train.momentum, weight_decay=config.train.weight_decay)
    dataset = load_dataset(
        config.data.name,
        data_dir=config.data.data_dir,
        train_split=config.data.train_split,
        test_split=config.data.test_split,
        image_size=config.data.image_size,
        skip_unreadable=config.data.skip_unreadable,
        streaming=config.data.streaming,
    )
    model = make_model(
        config.model.name,
        stem=config.model.stem,
        width=config.model.width,
        projection_dim=config.model.projection_dim,
        num_classes=len(dataset.class_names) if config.loss.name == "cross_entropy" else None,
        axis_name=DATA_AXIS if config.model.sync_batch_norm else None,
        dtype=dtype,
    )
    images = dataset.train.images
    height, width, channels = images.shape[1:]
    check_image_size(height, width, stem=config.model.stem)
    mean, std = dataset.channel_statistics
    division = _hold_out(len(images), config)
    per_epoch = steps_per_epoch(len(division.train), config.train.batch_size)
    # The probe comes after hours of training: its settings are tried now.
    probe_steps = config.probe.epochs * steps_per_epoch(len(images), config.probe.batch_size)
    learning_rates(config.probe.learning_rate, total_steps=probe_steps)
    total_steps = config.train.epochs * per_epoch
    rates = learning_rates(
        config.train.learning_rate,
        total_steps=total_steps,
        warmup_steps=config.train.warmup_epochs * per_epoch,
    )

    def initial_state() -> TrainState:
        state = create_state(model, optimizer, image_shape=(height, width, channels), seed=config.seed)
        return replicate(state, mesh)

    views = make_views(policies, mean=mean, std=std)
    encode = make_encode(model, mean=mean, std=std, mesh=mesh)
    validate = None
    if len(division.validation):
        validate = make_validate(
            encode,
            dataset.train,
            division,
            num_classes=len(dataset.class_names),
            batch_size=config.train.batch_size,
            mesh=mesh,
        )
    return Experiment(
        dataset=dataset,
        division=division,
        mean=mean,
        std=std,
        mesh=mesh,
        model=model,
        encode=encode,
        validate=validate,
        step=make_train_step(
            model,
            optimizer,
            objective,
            views,
            steps_per_epoch=per_epoch,
            sync_batch_norm=config.model.sync_batch_norm,
            mesh=mesh,
        ),
        hyper=Hyper(
            learning_rate=np.float32(0),  # set for every step by the loop
            temperature=np.float32(config.loss.temperature),
            k1=np.float32(config.loss.k1),
            k2=np.float32(config.loss.k2),
            seed=np.uint32(config.seed),
        ),
        course=Course(
            batch_size=config.train.batch_size,
            epochs=config.train.epochs,
            num_views=len(policies),
            learning_rates=rates,
            log_every_steps=config.log.every_steps,
            checkpoint_every_epochs=config.checkpoint.every_epochs,
        ),
        initial_state=initial_state,
        views=views,
        policy_names=tuple(config.augment.views),
        probe_views=make_views(policies[:1], mean=mean, std=std),
        probe=dict(
            epochs=config.probe.epochs,
            learning_rate=config.probe.learning_rate,
            batch_size=config.probe.batch_size,
        ),
        seed=config.seed,
        loss_name=config.loss.name,
    )


def _compute_dtype(precision: str) -> jnp.dtype | None:
    """What the encoder computes in; None follows the parameters."""
    if precision not in PRECISIONS:
        raise UserError(
            f"There is no precision {precision!r} for train.precision, expected one of {', '.join(PRECISIONS)}."
        )
    if precision == "auto":
        precision = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return jnp.dtype(jnp.bfloat16) if precision == "bfloat16" else None


def _hold_out(num_images: int, config: ConfigDict) -> Division:
    """Divide the training split, of which at least a batch must be left to train on."""
    held_out, batch_size = config.validation.images, config.train.batch_size
    steps_per_epoch(num_images, batch_size)  # refuses a batch that is too large even where none are held out
    most = num_images - batch_size
    if not 0 <= held_out <= most:
        raise UserError(
            f"validation.images is {held_out}, expected 0 to {most}, which leaves a batch of {batch_size} of the "
            f"{num_images} training images: hold out fewer, or train with a smaller train.batch_size."
        )
    return divide(num_images, held_out, seed=config.seed)


def _check_numbers(config: ConfigDict) -> None:
    """Refuse numbers for which no later part could give a better reason."""
    for name, value in flat_items(config):
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name} is {value}, expected a finite number.")
    at_least_one = {
        "train.epochs": config.train.epochs,
        "probe.epochs": config.probe.epochs,
        "checkpoint.every_epochs": config.checkpoint.every_epochs,
        "log.every_steps": config.log.every_steps,
    }
    for name, value in at_least_one.items():
        if value < 1:
            raise UserError(f"{name} is {value}, expected 1 or more.")
    if not config.loss.temperature > 0:
        raise UserError(f"loss.temperature is {config.loss.temperature}, expected a number above 0.")
    for name, value in {"loss.k1": config.loss.k1, "loss.k2": config.loss.k2}.items():
        if not value >= 0:
            raise UserError(f"{name} is {value}, expected 0 or more.")
    if not 0 <= config.seed < 2**32:
        raise UserError(f"seed is {config.seed}, expected 0 to {2**32 - 1}.")
