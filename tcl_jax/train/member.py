"""One of the runs that train together: its settings, its records and checkpoints, and what becomes of it."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from tcl_jax.errors import NotFinite
from tcl_jax.run.checkpoint import Checkpoints
from tcl_jax.run.metrics_log import Log
from tcl_jax.run.stored import Position
from tcl_jax.train.curve import Curve, not_finite
from tcl_jax.train.schedule import Schedule
from tcl_jax.train.state import Hyper, TrainState, all_finite
from tcl_jax.train.watch import Watch

OF_EVERY_STEP = ("loss", "skipped")  # the metrics that count in a record for each of its steps


class Validation(NamedTuple):
    """metric: its name. measure: (variables of the model) -> its value on the held-out images; None if not finite."""

    metric: str
    measure: Callable[[Mapping[str, Any]], float | None]


class Member(NamedTuple):
    """A run.

    Attributes:
      name: for messages.
      hyper: its settings; the learning rate is that of `learning_rates`.
      learning_rates: float32, one for each step of all epochs.
      examples: int32, positions in the split of the images to train on; equally many for all members.
      validation: taken with every checkpoint at the end of an epoch; None where no images are held out.
      log: of its curve.
      checkpoints: its own.
      records: of the log, from before.
    """

    name: str
    hyper: Hyper
    learning_rates: np.ndarray
    examples: np.ndarray
    validation: Validation | None
    log: Log
    checkpoints: Checkpoints
    records: Sequence[Mapping[str, Any]] = ()


class Outcome(NamedTuple):
    """What became of a run: its last state and where that is in the run, or why it failed."""

    state: TrainState
    position: Position
    failure: NotFinite | None


class Clock:
    """The time that each run took, an equal share of what all took together.

    Args:
      before: where the runs were when the clock began.
      runs: their number.
      began: when the program began, by time.monotonic(); None: now.
    """

    def __init__(self, before: Position, runs: int, began: float | None = None):
        self._before, self._runs, self._started = before, runs, time.monotonic()
        self._began = self._started if began is None else began
        self._compiled_at: float | None = None
        self.validation_seconds = 0.0

    @property
    def starting(self) -> bool:
        """Whether the first step is still to come."""
        return self._compiled_at is None

    def first_step_done(self) -> None:
        """Note that the first step is done, most of whose time went into compiling it."""
        self._compiled_at = time.monotonic()
        tqdm.write(
            f"The first step was done {self._compiled_at - self._began:.1f} s after the start, "
            f"{self._compiled_at - self._started:.1f} s of them to compile and run it."
        )

    def position(self, epochs_done: int) -> Position:
        """Where each run is after a number of epochs."""
        now = time.monotonic()
        compiling = (now if self._compiled_at is None else self._compiled_at) - self._started
        return Position(
            epoch=epochs_done,
            train_seconds=self._before.train_seconds + (now - self._started) / self._runs,
            compile_seconds=self._before.compile_seconds + compiling / self._runs,
            validation_seconds=self._before.validation_seconds + self.validation_seconds / self._runs,
        )


class Recorder:
    """Keeps the records and checkpoints of one run, until its numbers are no longer finite.

    Args:
      bar: shows its views and metrics.
      clock: of all runs that train together.
      announce: whether to print why the run fails, when it does; `failure` has it in any case. What is printed has the
        name of the run then.
    """

    def __init__(self, member: Member, schedule: Schedule, bar: tqdm, clock: Clock, *, announce: bool):
        self._member, self._clock, self._announce = member, clock, announce
        log = Watch(member.log, member.records, member.learning_rates, member.name if announce else "")
        self._curve = Curve(log, bar, schedule.views_per_step, member.checkpoints)
        self._checked: tuple[TrainState, float | None] | None = None
        self.failure: NotFinite | None = None
        self.restart_clock = self._curve.restart_clock

    def add(
        self, step: int, epoch: int, metrics: dict[str, jax.Array], data_seconds: float, *, closes: bool
    ) -> None:
        """Note a step, counted from 1, that the device was given; `closes`: a record ends with it."""

        def note() -> None:
            # Only the last step of a record is asked for what drives its loss.
            kept = metrics if closes else {name: metrics[name] for name in OF_EVERY_STEP if name in metrics}
            self._curve.add(step, epoch, self._member.learning_rates[step - 1], kept, data_seconds)
            if closes:
                self._curve.close_interval()

        self._unless_failed(note)

    def check(self, state: TrainState, epochs_done: int, *, whole_epoch: bool) -> None:
        """See that the state can be saved, and where an epoch is whole measure it on the held-out images."""

        def look() -> None:
            self._curve.flush()
            step, value = int(state.step), None
            if not bool(all_finite(state)):
                raise not_finite("The parameters are not finite", step, self._member.checkpoints)
            validation = self._member.validation
            if validation is not None and whole_epoch:
                asked_at = time.monotonic()
                value = validation.measure(state.evaluated)
                self._clock.validation_seconds += time.monotonic() - asked_at
                # Before the checkpoint: a run continued from it does not come by here again.
                self._curve.add_validation(step, epochs_done - 1, validation.metric, value)
            self._checked = state, value

        self._unless_failed(look)

    def save(self, position: Position) -> None:
        """Begin to write the state that was checked, if it was found good; returns when it may be donated."""
        if self._checked is not None:
            state, value = self._checked
            self._checked = None
            self._member.checkpoints.save(state, position, value)

    def _unless_failed(self, act: Callable[[], None]) -> None:
        if self.failure is None:
            try:
                act()
            except NotFinite as failure:
                self.failure = failure
                if self._announce:
                    tqdm.write(f"{self._member.name}: {failure}")
