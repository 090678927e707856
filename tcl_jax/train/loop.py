"""The loop around the step: batches in, a curve and checkpoints out."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh
from tqdm import tqdm

from tcl_jax.data import Split, steps_per_epoch, train_batches
from tcl_jax.errors import Interrupted
from tcl_jax.parallel import local_rows, replicate, split_batch
from tcl_jax.run.checkpoint import Checkpoints, Position
from tcl_jax.run.metrics_log import MetricsLog, NoLog
from tcl_jax.train.curve import Curve, not_finite
from tcl_jax.train.interruption import Interruption
from tcl_jax.train.profile import Profile
from tcl_jax.train.state import Hyper, TrainState, all_finite
from tcl_jax.train.step import TrainStep

OF_EVERY_STEP = ("loss", "skipped")  # the metrics that count in a record for each of its steps


class Course(NamedTuple):
    """How long training goes on, and how often it tells of itself.

    Attributes:
      batch_size: images per step, over all devices.
      micro_batches: parts of a batch that go through the model one after the other.
      epochs: passes over the training split.
      num_views: views of each image, for the rate shown.
      learning_rates: one for each step of all epochs.
      log_every_steps: steps that one record of the curve covers, fewer at the end of an epoch.
      checkpoint_every_epochs: epochs between checkpoints; the last epoch always ends with one.
    """

    batch_size: int
    micro_batches: int
    epochs: int
    num_views: int
    learning_rates: np.ndarray
    log_every_steps: int
    checkpoint_every_epochs: int

    @property
    def images_at_once(self) -> int:
        """Images that go through the model together, over all devices."""
        return self.batch_size // self.micro_batches


def train(
    step: TrainStep,
    state: TrainState,
    position: Position,
    *,
    split: Split,
    hyper: Hyper,
    course: Course,
    mesh: Mesh,
    log: MetricsLog | NoLog,
    checkpoints: Checkpoints,
    examples: np.ndarray | None = None,
    validate: Callable[[Mapping[str, Any]], float] | None = None,
    profile: Profile | None = None,
    began: float | None = None,
) -> tuple[TrainState, Position]:
    """Train from `state` to the end of the last epoch; shows a progress bar.

    The order of examples is a pure function of hyper.seed and the epoch, so that a run continued from any state makes
    the same steps as one that was never interrupted. `state` is donated.

    Args:
      examples: int32, positions in the split of the images to train on; None takes all.
      validate: from the model's variables to the kNN accuracy of the held-out images, taken with every checkpoint at
        the end of an epoch; None where none are held out.
      profile: of steps to trace; None traces none.
      began: when the program began, by time.monotonic(), to tell how long it took to the first step; None: now.

    Raises:
      Interrupted: SIGINT or SIGTERM came; the state after the last whole step is saved.
      RunFailed: the loss or the parameters are not finite, which is never saved; the step skips such updates, and did
        so too often in a row; or something of the run cannot be written.
    """
    per_epoch = steps_per_epoch(len(split.labels if examples is None else examples), course.batch_size)
    views_per_step = course.batch_size * course.num_views
    first_step = int(state.step)
    constants = replicate(hyper._replace(learning_rate=np.float32(0)), mesh)
    started = time.monotonic()
    compiled_at: float | None = None
    validation_seconds = position.validation_seconds

    def save(epochs_done: int, step_number: int, *, whole_epoch: bool) -> Position:
        nonlocal validation_seconds
        curve.flush()
        if not bool(all_finite(state)):
            raise not_finite("The parameters are not", step_number, checkpoints)
        knn = None
        if validate is not None and whole_epoch:
            asked_at = time.monotonic()
            knn = validate(state.evaluated)
            validation_seconds += time.monotonic() - asked_at
            # Before the checkpoint: a run continued from it does not come by here again.
            curve.add_validation(step_number, epochs_done - 1, knn)
        now = time.monotonic()
        compiling = (now if compiled_at is None else compiled_at) - started
        so_far = Position(
            epoch=epochs_done,
            train_seconds=position.train_seconds + now - started,
            compile_seconds=position.compile_seconds + compiling,
            validation_seconds=validation_seconds,
        )
        checkpoints.save(state, so_far, knn)
        curve.restart_clock()
        return so_far

    saved = position
    with (
        Interruption() as interruption,
        tqdm(
            total=course.epochs * per_epoch * views_per_step,
            initial=first_step * views_per_step,
            unit=" views",
            unit_scale=True,
            dynamic_ncols=True,
            desc="Training",
        ) as bar,
        profile or Profile(epath.Path(), 0) as tracing,
    ):
        curve = Curve(log, bar, views_per_step, checkpoints)
        for epoch in range(first_step // per_epoch, course.epochs):
            first_batch = max(first_step - epoch * per_epoch, 0)
            batches = train_batches(
                split,
                course.batch_size,
                seed=int(hyper.seed),
                epoch=epoch,
                first_batch=first_batch,
                examples=examples,
                rows=local_rows(course.batch_size, mesh, course.micro_batches),
            )
            for number in range(epoch * per_epoch + first_batch, (epoch + 1) * per_epoch):
                if (asked := interruption.before(number)) is not None:
                    save(epoch, number, whole_epoch=False)
                    raise Interrupted(asked, number)
                if tracing.begin_step(number, first=compiled_at is None):
                    curve.restart_clock()
                asked_at = time.monotonic()
                batch = split_batch(next(batches), mesh)
                data_seconds = time.monotonic() - asked_at
                rate, done = course.learning_rates[number], number + 1 - epoch * per_epoch
                # The last step of a record is asked what drives its loss.
                closes = done % course.log_every_steps == 0 or done == per_epoch
                hyper = constants._replace(learning_rate=rate, diagnose=np.bool_(closes))
                state, metrics = step(state, batch, hyper)
                told = (
                    metrics if closes else {name: metrics[name] for name in OF_EVERY_STEP if name in metrics}
                )
                curve.add(number + 1, epoch, rate, told, data_seconds)
                if compiled_at is None:
                    jax.block_until_ready(metrics)
                    compiled_at = time.monotonic()
                    tqdm.write(
                        f"The first step was done {compiled_at - (began or started):.1f} s after the start, "
                        f"{compiled_at - started:.1f} s of them to compile and run it."
                    )
                    curve.restart_clock()
                if tracing.end_step(metrics):
                    curve.restart_clock()
                if closes:
                    curve.close_interval()

            if (epoch + 1) % course.checkpoint_every_epochs == 0 or epoch + 1 == course.epochs:
                saved = save(epoch + 1, (epoch + 1) * per_epoch, whole_epoch=True)
        if interruption.signal is not None:  # during the last step or save: the evaluation is still to come
            raise Interrupted(interruption.signal, course.epochs * per_epoch)
    return state, saved
