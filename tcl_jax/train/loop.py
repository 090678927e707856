"""The loop around the step: batches in, a curve and checkpoints out."""

import collections
import time
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from tcl_jax.data import Split, steps_per_epoch, train_batches
from tcl_jax.errors import Interrupted, RunFailed
from tcl_jax.parallel import replicate, split_batch
from tcl_jax.report import MetricsLog
from tcl_jax.train.checkpoint import Checkpoints, Position
from tcl_jax.train.interruption import Interruption
from tcl_jax.train.state import Hyper, TrainState, all_finite
from tcl_jax.train.step import TrainStep


class Course(NamedTuple):
    """How long training goes on, and how often it tells of itself.

    Attributes:
      batch_size: images per step, over all devices.
      epochs: passes over the training split.
      num_views: views of each image, for the rate shown.
      learning_rates: one for each step of all epochs.
      log_every_steps: steps that one record of the curve covers, fewer at the end of an epoch.
      checkpoint_every_epochs: epochs between checkpoints; the last epoch always ends with one.
    """

    batch_size: int
    epochs: int
    num_views: int
    learning_rates: np.ndarray
    log_every_steps: int
    checkpoint_every_epochs: int


def train(
    step: TrainStep,
    state: TrainState,
    position: Position,
    *,
    split: Split,
    hyper: Hyper,
    course: Course,
    mesh: Mesh,
    log: MetricsLog,
    checkpoints: Checkpoints,
) -> tuple[TrainState, Position]:
    """Train from `state` to the end of the last epoch; shows a progress bar.

    The order of examples is a pure function of hyper.seed and the epoch, so that a run continued from any state makes
    the same steps as one that was never interrupted. `state` is donated.

    Raises:
      Interrupted: SIGINT or SIGTERM came; the state after the last whole step is saved.
      RunFailed: the loss or the parameters are not finite; such a state is never saved.
    """
    per_epoch = steps_per_epoch(len(split.labels), course.batch_size)
    views_per_step = course.batch_size * course.num_views
    first_step = int(state.step)
    constants = replicate(hyper._replace(learning_rate=np.float32(0)), mesh)
    started = time.monotonic()
    compiled_at: float | None = None

    def save(epochs_done: int, step_number: int) -> Position:
        curve.flush()
        now = time.monotonic()
        so_far = Position(
            epoch=epochs_done,
            train_seconds=position.train_seconds + now - started,
            compile_seconds=position.compile_seconds + (compiled_at or now) - started,
        )
        if not bool(all_finite(state)):
            raise RunFailed(_not_finite("The parameters are not", step_number, checkpoints))
        checkpoints.save(state, so_far)
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
    ):
        curve = _Curve(log, bar, views_per_step, checkpoints)
        for epoch in range(first_step // per_epoch, course.epochs):
            first_batch = max(first_step - epoch * per_epoch, 0)
            batches = train_batches(
                split, course.batch_size, seed=int(hyper.seed), epoch=epoch, first_batch=first_batch
            )
            for number, batch in enumerate(batches, start=epoch * per_epoch + first_batch):
                if interruption.signal is not None:
                    save(epoch, number)
                    raise Interrupted(interruption.signal, number)
                rate = course.learning_rates[number]
                state, metrics = step(state, split_batch(batch, mesh), constants._replace(learning_rate=rate))
                if compiled_at is None:
                    jax.block_until_ready(metrics)
                    compiled_at = time.monotonic()
                curve.add(number + 1, epoch, rate, metrics["loss"])
                if (number + 1 - epoch * per_epoch) % course.log_every_steps == 0:
                    curve.close_interval()
            curve.close_interval()

            if (epoch + 1) % course.checkpoint_every_epochs == 0 or epoch + 1 == course.epochs:
                saved = save(epoch + 1, (epoch + 1) * per_epoch)
        if interruption.signal is not None:  # during the last step or save: the evaluation is still to come
            raise Interrupted(interruption.signal, course.epochs * per_epoch)
    return state, saved


class _Interval(NamedTuple):
    step: int
    epoch: int
    learning_rate: float
    losses: list[jax.Array]


class _Curve:
    """Turns the losses of the steps into records, one interval late, so that the host never waits for the device.

    Reading a loss waits for its step. By the time an interval is read here the next one is queued, and the device has
    work to do.
    """

    def __init__(self, log: MetricsLog, bar: tqdm, views_per_step: int, checkpoints: Checkpoints):
        self._log, self._bar, self._views_per_step, self._checkpoints = log, bar, views_per_step, checkpoints
        self._open: list[tuple[int, int, float, jax.Array]] = []
        self._closed: collections.deque[_Interval] = collections.deque()
        self._last_read = time.monotonic()

    def add(self, step: int, epoch: int, learning_rate: float, loss: jax.Array) -> None:
        self._open.append((step, epoch, float(learning_rate), loss))

    def close_interval(self) -> None:
        if self._open:
            step, epoch, rate, _ = self._open[-1]
            self._closed.append(_Interval(step, epoch, rate, [loss for *_, loss in self._open]))
            self._open = []
        if len(self._closed) > 1:
            self._read(self._closed.popleft())

    def flush(self) -> None:
        self.close_interval()
        while self._closed:
            self._read(self._closed.popleft())

    def _read(self, interval: _Interval) -> None:
        losses = jax.device_get(interval.losses)
        views, now = len(losses) * self._views_per_step, time.monotonic()
        for offset, loss in enumerate(losses, start=1 - len(losses)):
            if not np.isfinite(loss):
                raise RunFailed(
                    _not_finite(
                        f"The loss is {loss}, which is not", interval.step + offset, self._checkpoints
                    )
                )
        loss = float(np.mean(losses, dtype=np.float64))
        self._log.append(
            {
                "step": interval.step,
                "epoch": interval.epoch,
                "loss": loss,
                "steps": len(losses),
                "learning_rate": interval.learning_rate,
                "views_per_second": views / (now - self._last_read),
            }
        )
        self._last_read = now
        self._bar.set_postfix_str(f"epoch {interval.epoch + 1}, loss {loss:.4f}", refresh=False)
        self._bar.update(views)


def _not_finite(what: str, step: int, checkpoints: Checkpoints) -> str:
    saved = checkpoints.latest_step()
    rest = (
        "no checkpoint was written yet"
        if saved is None
        else f"the last good checkpoint is that of step {saved}"
    )
    return (
        f"{what} finite at step {step}; {rest}: try a smaller train.learning_rate, more train.warmup_epochs or a "
        "larger loss.temperature, with a new --workdir."
    )
