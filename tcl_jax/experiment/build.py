"""From a config to the parts of an experiment: the only place where config fields are read."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from tcl_jax.augment import make_policy, make_views
from tcl_jax.augment.policies import Policy
from tcl_jax.augment.views import Views
from tcl_jax.data import Dataset, Division, divide, load_dataset, steps_per_epoch
from tcl_jax.errors import UserError
from tcl_jax.evaluate import make_encode, make_validate
from tcl_jax.evaluate.features import Encode
from tcl_jax.evaluate.validation import Validate
from tcl_jax.fields import flat_items
from tcl_jax.losses.contrastive import best_block_size
from tcl_jax.models import ContrastiveModel, check_image_size, make_model
from tcl_jax.models.initial_encoder import read_initial_encoder
from tcl_jax.parallel import DATA_AXIS, check_divides, make_mesh
from tcl_jax.train.loop import Course
from tcl_jax.train.objective import Objective, make_objective
from tcl_jax.train.optimizer import learning_rates, make_optimizer, scaled_learning_rate
from tcl_jax.train.state import Hyper, TrainState, begin_with, create_state
from tcl_jax.train.step import DeviceStep, TrainStep, compile_step, make_device_step

PRECISIONS = ("auto", "float32", "bfloat16")
NOT_FINITE = ("stop", "skip")


class Facts(NamedTuple):
    """What the parts of training need to know of the data, and no more.

    Attributes:
      image_shape: (h, w, c), pixels.
      num_classes: labels are 0 to num_classes - 1.
      num_images: in the training split.
      mean, std: [c], of the training pixels divided by 255.
      class_names: by label, for people; empty where they do not matter.
    """

    image_shape: tuple[int, int, int]
    num_classes: int
    num_images: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Training:
    """The parts that training is made of.

    Attributes:
      model: encoder and head.
      device_step: what each device does in a step, before it is compiled.
      step, hyper, course: for `tcl_jax.train.loop.train`.
      initial_state: makes the state before the first step, by the config's seed or another, from the file of
        model.init_from where it is given, which under `jax.eval_shape`, asked for shapes alone, need not be there.
      views: one augmented view per image by each policy of augment.views, as training sees them.
      probe_views: one augmented view per image, by the first policy of augment.views.
      division: which images of the training split contrastive training sees, and which are held out.
    """

    model: ContrastiveModel
    device_step: DeviceStep
    step: TrainStep
    hyper: Hyper
    course: Course
    initial_state: Callable[..., TrainState]
    views: Views
    probe_views: Views
    division: Division


@dataclasses.dataclass(frozen=True)
class Experiment:
    """The parts that training and evaluation are made of.

    Attributes:
      dataset: training and test split.
      facts: of the data set.
      mesh: all devices.
      training: what trains.
      encode: the compiled encoder, for `tcl_jax.evaluate`.
      validate: the kNN accuracy of the held-out images; None where none are held out.
      policy_names: those of augment.views.
      probe: epochs, learning_rate and batch_size of the linear probe.
      seed: of all randomness.
      loss_name: for the results.
    """

    dataset: Dataset
    facts: Facts
    mesh: Mesh
    training: Training
    encode: Encode
    validate: Validate | None
    policy_names: tuple[str, ...]
    probe: dict[str, Any]
    seed: int
    loss_name: str


def build_experiment(config: ConfigDict) -> Experiment:
    """Read and check every field of `config`, load the data, and build the parts. Nothing is written.

    Raises:
      UserError: a field with a value that cannot be, or data that cannot be used.
    """
    mesh = make_mesh()
    check_config(config, mesh)  # what costs nothing to check comes before the data are loaded
    dataset = load_dataset(
        config.data.name,
        data_dir=config.data.data_dir,
        train_split=config.data.train_split,
        test_split=config.data.test_split,
        image_size=config.data.image_size,
        skip_unreadable=config.data.skip_unreadable,
        streaming=config.data.streaming,
    )
    images, num_classes = dataset.train.images, len(dataset.class_names)
    height, width, channels = images.shape[1:]
    facts = Facts(
        (height, width, channels),
        num_classes,
        len(images),
        *dataset.channel_statistics,
        class_names=dataset.class_names,
    )
    training = build_training(config, facts, mesh)
    # The probe comes after hours of training: its settings are tried now.
    probe_steps = config.probe.epochs * steps_per_epoch(len(images), config.probe.batch_size)
    learning_rates(config.probe.learning_rate, total_steps=probe_steps)
    encode = make_encode(training.model, mean=facts.mean, std=facts.std, mesh=mesh)
    validate = None
    if len(training.division.validation):
        validate = make_validate(
            encode,
            dataset.train,
            training.division,
            num_classes=num_classes,
            batch_size=training.course.images_at_once,
            mesh=mesh,
        )
    return Experiment(
        dataset=dataset,
        facts=facts,
        mesh=mesh,
        training=training,
        encode=encode,
        validate=validate,
        policy_names=tuple(config.augment.views),
        probe=dict(
            epochs=config.probe.epochs,
            learning_rate=config.probe.learning_rate,
            batch_size=config.probe.batch_size,
        ),
        seed=config.seed,
        loss_name=config.loss.name,
    )


def check_config(config: ConfigDict, mesh: Mesh) -> None:
    """Refuse what no data set could make right.

    Raises:
      UserError: a field with a value that cannot be.
    """
    _check_numbers(config)
    check_divides("train.batch_size", config.train.batch_size, mesh)
    check_divides("probe.batch_size", config.probe.batch_size, mesh)
    if config.train.not_finite not in NOT_FINITE:
        raise UserError(
            f"train.not_finite is {config.train.not_finite!r}, expected one of {', '.join(NOT_FINITE)}."
        )
    compute_dtype(config.train.precision, mesh)
    _micro_batches(config, mesh)
    _objective(config, mesh)
    _optimizer(config)


def build_training(config: ConfigDict, facts: Facts, mesh: Mesh) -> Training:
    """The parts of training for data of which no more than `facts` is known; `check_config` comes first.

    Raises:
      UserError: settings that do not fit the data.
    """
    model = make_model(
        config.model.name,
        stem=config.model.stem,
        width=config.model.width,
        projection_dim=config.model.projection_dim,
        num_classes=facts.num_classes if config.loss.name == "cross_entropy" else None,
        axis_name=DATA_AXIS if config.model.sync_batch_norm else None,
        dtype=compute_dtype(config.train.precision, mesh),
        remat=config.model.remat,
    )
    height, width, _ = facts.image_shape
    check_image_size(height, width, stem=config.model.stem)
    division = _hold_out(facts.num_images, config)
    per_epoch = steps_per_epoch(len(division.train), config.train.batch_size)
    optimizer, policies = _optimizer(config), _policies(config)
    views = make_views(policies, mean=facts.mean, std=facts.std)
    micro_batches = _micro_batches(config, mesh)

    def initial_state(seed: int = config.seed) -> TrainState:
        state = create_state(
            model,
            optimizer,
            image_shape=facts.image_shape,
            seed=seed,
            mesh=mesh,
            keep_average=config.train.ema_decay > 0,
        )
        # A run that goes on asks for shapes alone: the file of its first start may be gone.
        if not config.model.init_from or isinstance(state.step, jax.core.Tracer):
            return state
        return begin_with(state, _initial_encoder(config, facts.image_shape[-1]), mesh=mesh)

    device_step = make_device_step(
        model,
        optimizer,
        _objective(config, mesh),
        views,
        steps_per_epoch=per_epoch,
        sync_batch_norm=config.model.sync_batch_norm,
        micro_batches=micro_batches,
        ema_decay=config.train.ema_decay,
        skip_not_finite=config.train.not_finite == "skip",
    )
    return Training(
        model=model,
        device_step=device_step,
        step=compile_step(device_step, mesh),
        hyper=Hyper(
            learning_rate=np.float32(0),  # set for every step by the loop
            temperature=np.float32(config.loss.temperature),
            k1=np.float32(config.loss.k1),
            k2=np.float32(config.loss.k2),
            seed=np.uint32(config.seed),
        ),
        course=Course(
            batch_size=config.train.batch_size,
            micro_batches=micro_batches,
            epochs=config.train.epochs,
            num_views=len(policies),
            learning_rates=learning_rates(
                scaled_learning_rate(
                    config.train.learning_rate,
                    rule=config.train.learning_rate_scaling,
                    batch_size=config.train.batch_size,
                ),
                total_steps=config.train.epochs * per_epoch,
                warmup_steps=config.train.warmup_epochs * per_epoch,
            ),
            log_every_steps=config.log.every_steps,
            checkpoint_every_epochs=config.checkpoint.every_epochs,
        ),
        initial_state=initial_state,
        views=views,
        probe_views=make_views(policies[:1], mean=facts.mean, std=facts.std),
        division=division,
    )


def check_init_from(config: ConfigDict, *, channels: int | None = None) -> None:
    """Refuse a file of model.init_from that does not fit the model.

    Args:
      channels: of the images; None, before they are loaded, takes those of the file.

    Raises:
      UserError: the file cannot be read, or does not fit.
    """
    if config.model.init_from:
        _initial_encoder(config, channels)


def _initial_encoder(config: ConfigDict, channels: int | None) -> dict[str, Any]:
    return read_initial_encoder(
        config.model.init_from,
        name=config.model.name,
        stem=config.model.stem,
        width=config.model.width,
        channels=channels,
    )


def _policies(config: ConfigDict) -> list[Policy]:
    return [
        make_policy(name, crop_padding=config.augment.crop_padding, flip=config.augment.flip)
        for name in config.augment.views
    ]


def _objective(config: ConfigDict, mesh: Mesh) -> Objective:
    return make_objective(
        config.loss.name,
        labels=config.loss.labels,
        num_views=len(_policies(config)),
        block_size=best_block_size(_platform(mesh)),
    )


def _platform(mesh: Mesh) -> str:
    """That of the devices, which --mode=plan can compile for without having them."""
    return mesh.devices.flat[0].platform


def _optimizer(config: ConfigDict) -> optax.GradientTransformation:
    return make_optimizer(
        config.train.optimizer,
        momentum=config.train.momentum,
        weight_decay=config.train.weight_decay,
        decay=config.train.decay,
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


def compute_dtype(precision: str, mesh: Mesh) -> jnp.dtype | None:
    """What the encoder computes in on the devices of `mesh`; None follows the parameters."""
    if precision not in PRECISIONS:
        raise UserError(
            f"There is no precision {precision!r} for train.precision, expected one of {', '.join(PRECISIONS)}."
        )
    if precision == "auto":
        precision = "float32" if _platform(mesh) == "cpu" else "bfloat16"
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
    if not 0 <= config.train.ema_decay < 1:
        raise UserError(f"train.ema_decay is {config.train.ema_decay}, expected 0 or more and below 1.")
    if not config.loss.temperature > 0:
        raise UserError(f"loss.temperature is {config.loss.temperature}, expected a number above 0.")
    for name, value in {"loss.k1": config.loss.k1, "loss.k2": config.loss.k2}.items():
        if not value >= 0:
            raise UserError(f"{name} is {value}, expected 0 or more.")
    if not 0 <= config.seed < 2**32:
        raise UserError(f"seed is {config.seed}, expected 0 to {2**32 - 1}.")
