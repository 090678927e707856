"""What is compiled for runs that share it, and the settings of one run, from a config and what is known of its data."""

from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from tcl_jax.augment import check_policy, make_views
from tcl_jax.augment.views import Views
from tcl_jax.data import TrainValidationSplit, class_steps, steps_per_epoch, train_validation_split
from tcl_jax.errors import UserError
from tcl_jax.experiment.parts import BY_CLASS_FIELDS, Parts
from tcl_jax.models import ContrastiveModel, check_model, make_encode, with_head
from tcl_jax.models.encode import Encode
from tcl_jax.models.initial_encoder import fit_encoder
from tcl_jax.train.classifier import ClassifierLoss
from tcl_jax.train.learning_rate import learning_rates, scaled_learning_rate
from tcl_jax.train.objective import balanced_weights, weigh_classes
from tcl_jax.train.schedule import Schedule
from tcl_jax.train.state import Hyper, TrainState, begin_with, create_state
from tcl_jax.train.step import DeviceStep, TrainStep, compile_step, make_device_step


class Facts(NamedTuple):
    """What the program needs to know of the data, and no more.

    Attributes:
      image_shape: (h, w, c), pixels.
      num_classes: labels are 0 to num_classes - 1.
      num_images: in the training split.
      mean, std: [c], by which images are normalised: of the training pixels divided by 255, or those with which the
        encoder of model.init_from was trained; of a run that continues, as they were when it began.
      class_names: by label, for people; empty where they do not matter.
    """

    image_shape: tuple[int, int, int]
    num_classes: int
    num_images: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...] = ()


class Program(NamedTuple):
    """What is compiled, and shared by runs that differ in their settings alone.

    Attributes:
      parts: that it is made of.
      model: encoder and head.
      schedule: of every run.
      device_step: what each device does in a step, before it is compiled.
      step: the compiled step.
      encode: the compiled encoder.
      views: one augmented view per image by each policy, as training sees them.
      probe_views: one augmented view per image, by the first policy.
      image_shape: (h, w, c), pixels.
      keeps_average: whether the state has a moving average of the weights.
      queue_size: rows of the queue in the state; 0 where it has none.
      momentum_encoder: decay of the moving average that fills the queue; 0 where the model does.
      initial_encoder: variables of the encoder to begin with; None draws them.
      classifier: that is trained along; None where there is none.
    """

    parts: Parts
    model: ContrastiveModel
    schedule: Schedule
    device_step: DeviceStep
    step: TrainStep
    encode: Encode
    views: Views
    probe_views: Views
    image_shape: tuple[int, int, int]
    keeps_average: bool
    queue_size: int
    momentum_encoder: float
    initial_encoder: dict[str, Any] | None
    classifier: ClassifierLoss | None

    def initial_state(self, seed: int) -> TrainState:
        """The state before the first step, replicated over the devices."""
        state = self._drawn_state(seed)
        if self.initial_encoder is None:
            return state
        return begin_with(state, self.initial_encoder, mesh=self.parts.mesh)

    def state_shapes(self) -> TrainState:
        """Structure, shapes and dtypes of the state; nothing is computed."""
        return jax.eval_shape(lambda: self._drawn_state(0))

    def _drawn_state(self, seed: int) -> TrainState:
        return create_state(
            self.model,
            self.parts.optimizer,
            image_shape=self.image_shape,
            seed=seed,
            mesh=self.parts.mesh,
            keep_average=self.keeps_average,
            queue_size=self.queue_size,
            keep_momentum_encoder=self.momentum_encoder > 0,
            temperature_optimizer=self.parts.temperature_optimizer,
            classifier=self.classifier,
        )


class Settings(NamedTuple):
    """What one run sets, of those that share a program.

    Attributes:
      hyper: traced values of the step; the learning rate comes from `learning_rates`.
      learning_rates: float32, one for each step of all epochs.
      split: which images of the training split contrastive training sees, and which are held out.
      seed: of all randomness.
    """

    hyper: Hyper
    learning_rates: np.ndarray
    split: TrainValidationSplit
    seed: int


def make_program(config: ConfigDict, parts: Parts, facts: Facts, labels: np.ndarray | None = None) -> Program:
    """The program for data of which no more than `facts` is known.

    Args:
      labels: int [facts.num_images], which decide how many batches by class there are, and the weights of classes;
        None: classes of one size.

    Raises:
      UserError: settings that do not fit the data.
    """
    classes = facts.num_classes if parts.objective.head == "classifier" else None
    model = with_head(parts.encoder, projection_dim=config.model.projection_dim, num_classes=classes)
    check_model(model, facts.image_shape)
    for name, policy in zip(config.augment.views, parts.policies, strict=True):
        check_policy(policy, name, facts.image_shape)
    initial = None
    if parts.initial_encoder is not None:
        initial = fit_encoder(parts.initial_encoder, model, facts.image_shape)
    _check_held_out(config.validation.images, facts.num_images, config.train.batch_size)
    labels = np.arange(facts.num_images) % max(facts.num_classes, 1) if labels is None else labels
    steps, padding = epoch_of(config, facts, labels)
    schedule = Schedule(
        batch_size=config.train.batch_size,
        micro_batches=parts.micro_batches,
        num_views=len(parts.policies),
        epochs=config.train.epochs,
        steps_per_epoch=steps,
        log_every_steps=config.log.every_steps,
        checkpoint_every_epochs=config.checkpoint.every_epochs,
        images_per_class=config.data.images_per_class,
        padding=padding,
    )
    weight, classifier = config.loss.classifier_weight, None
    if weight >= 0:
        classifier = ClassifierLoss(facts.num_classes, weight)
    views = make_views(parts.policies, mean=facts.mean, std=facts.std)
    if config.loss.class_weights == "balanced":
        weighed = weigh_classes(parts.objective, balanced_weights(labels, facts.num_classes))
        parts = parts._replace(objective=weighed)
    device_step = make_device_step(
        model,
        parts.optimizer,
        parts.objective,
        views,
        steps_per_epoch=schedule.steps_per_epoch,
        sync_batch_norm=parts.synchronised,
        micro_batches=parts.micro_batches,
        ema_decay=config.train.ema_decay,
        skip_not_finite=config.train.not_finite == "skip",
        momentum_encoder=config.loss.momentum_encoder,
        temperature_optimizer=parts.temperature_optimizer,
        classifier=classifier,
    )
    program = Program(
        parts=parts,
        model=model,
        schedule=schedule,
        device_step=device_step,
        step=compile_step(device_step, parts.mesh),
        encode=make_encode(model, mean=facts.mean, std=facts.std, mesh=parts.mesh),
        views=views,
        probe_views=make_views(parts.policies[:1], mean=facts.mean, std=facts.std),
        image_shape=facts.image_shape,
        keeps_average=config.train.ema_decay > 0,
        queue_size=config.loss.queue_size,
        momentum_encoder=config.loss.momentum_encoder,
        initial_encoder=initial,
        classifier=classifier,
    )
    if config.train.layer_decay < 1:
        program.state_shapes()  # refuses layers that the encoder does not have
    alone = config.model.sync_batch_norm and not parts.synchronised and parts.mesh.size > 1
    if alone and program.state_shapes().batch_stats:
        raise UserError(
            f"model.sync_batch_norm is True, but the encoder {config.model.name!r} of model.name takes no 'axis_name': "
            "take it and hand it to nn.BatchNorm, or set --config.model.sync_batch_norm=False."
        )
    return program


def make_settings(config: ConfigDict, facts: Facts, schedule: Schedule) -> Settings:
    """The settings of one run.

    Raises:
      UserError: a learning rate, warm-up or schedule that cannot be.
    """
    peak = scaled_learning_rate(
        config.train.learning_rate,
        rule=config.train.learning_rate_scaling,
        batch_size=config.train.batch_size,
    )
    return Settings(
        hyper=Hyper(
            learning_rate=np.float32(0),  # set for every step by the loop
            temperature=np.float32(config.loss.temperature),
            k1=np.float32(config.loss.k1),
            k2=np.float32(config.loss.k2),
            seed=np.uint32(config.seed),
        ),
        learning_rates=learning_rates(
            peak,
            total_steps=schedule.steps,
            warmup_steps=config.train.warmup_epochs * schedule.steps_per_epoch,
            schedule=config.train.schedule,
            steps_per_epoch=schedule.steps_per_epoch,
        ),
        split=_split(config, facts),
        seed=config.seed,
    )


def epoch_of(config: ConfigDict, facts: Facts, labels: np.ndarray) -> tuple[int, int]:
    """Steps of an epoch, and rows of each without an image."""
    batch_size = config.train.batch_size
    if not config.data.images_per_class:
        return steps_per_epoch(facts.num_images - config.validation.images, batch_size), 0
    labels = labels[_split(config, facts).train]
    steps, images = class_steps(labels, batch_size, config.data.images_per_class, fields=BY_CLASS_FIELDS)
    return steps, batch_size - round(images)


def _split(config: ConfigDict, facts: Facts) -> TrainValidationSplit:
    return train_validation_split(facts.num_images, config.validation.images, seed=config.seed)


def _check_held_out(held_out: int, num_images: int, batch_size: int) -> None:
    """Refuse to hold out images where less than a batch is left to train on."""
    # Refuses a batch that is too large even where none are held out.
    steps_per_epoch(num_images, batch_size, field="train.batch_size")
    most = num_images - batch_size
    if not 0 <= held_out <= most:
        raise UserError(
            f"validation.images is {held_out}, expected 0 to {most}, which leaves a batch of {batch_size} of the "
            f"{num_images} training images: hold out fewer, or train with a smaller train.batch_size."
        )
