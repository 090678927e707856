"""A run of a sweep: what it is, what it tells while it trains, and what became of it."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from tcl_jax.errors import NotFinite
from tcl_jax.run.checkpoint import Checkpoints, Position
from tcl_jax.run.metrics_log import MetricsLog, NoLog
from tcl_jax.train.curve import Curve, not_finite
from tcl_jax.train.loop import OF_EVERY_STEP, Course
from tcl_jax.train.state import Hyper, TrainState, all_finite


class Member(NamedTuple):
    """A run of a sweep.

    Attributes:
      name: for messages.
      hyper: its settings; the learning rate comes from the course.
      course: differs from those of the other members in its learning rates alone.
      examples: int32, positions in the split of the images to train on; equally many for all members.
      validate: as for `tcl_jax.train.loop.train`.
      log: of its curve.
      checkpoints: its own.
    """

    name: str
    hyper: Hyper
    course: Course
    examples: np.ndarray
    validate: Callable[[Mapping[str, Any]], float] | None
    log: MetricsLog | NoLog
    checkpoints: Checkpoints


class Outcome(NamedTuple):
    """What became of a member: its last state and where that is in the run, or why it failed."""

    state: TrainState
    position: Position
    failure: NotFinite | None


class Clock:
    """What the members took, each an equal share of what the sweep took."""

    def __init__(self, before: Position, members: int):
        self._before, self._members, self._started = before, members, time.monotonic()
        self._compiled_at: float | None = None
        self.validation_seconds = 0.0

    @property
    def starting(self) -> bool:
        """Whether the first step is still to come."""
        return self._compiled_at is None

    def first_step_done(self) -> None:
        """Note that the first step is done, most of whose time went into compiling it."""
        self._compiled_at = time.monotonic()
        tqdm.write(f"The first step was done after {self._compiled_at - self._started:.1f} s.")

    def position(self, epochs_done: int) -> Position:
        """Where the members are after so many epochs."""
        now = time.monotonic()
        compiling = (now if self._compiled_at is None else self._compiled_at) - self._started
        return Position(
            epoch=epochs_done,
            train_seconds=self._before.train_seconds + (now - self._started) / self._members,
            compile_seconds=self._before.compile_seconds + compiling / self._members,
            validation_seconds=self._before.validation_seconds + self.validation_seconds / self._members,
        )


class Teller:
    """Tells of one member: its curve, its accuracies and its checkpoints, until it fails."""

    def __init__(self, member: Member, bar: tqdm, views_per_step: int, clock: Clock):
        self._member, self._clock = member, clock
        self._curve = Curve(member.log, _SilentBar(bar), views_per_step, member.checkpoints)
        self._judged: tuple[TrainState, float | None] | None = None
        self.failure: NotFinite | None = None
        self.restart_clock = self._curve.restart_clock

    def add(
        self,
        step: int,
        epoch: int,
        rate: float,
        metrics: dict[str, jax.Array],
        data_seconds: float,
        *,
        closes: bool,
    ) -> None:
        """Note a step, as `Curve.add` does; `closes`: it ends an interval."""

        def note() -> None:
            told = metrics if closes else {name: metrics[name] for name in OF_EVERY_STEP if name in metrics}
            self._curve.add(step, epoch, rate, told, data_seconds)
            if closes:
                self._curve.close_interval()

        self._unless_failed(note)

    def judge(self, state: TrainState, epochs_done: int, *, whole_epoch: bool) -> None:
        """See that the state can be saved, and where an epoch is whole take the accuracy of the held-out images."""

        def look() -> None:
            self._curve.flush()
            step, knn = int(state.step), None
            if not bool(all_finite(state)):
                raise not_finite("The parameters are not", step, self._member.checkpoints)
            if self._member.validate is not None and whole_epoch:
                asked_at = time.monotonic()
                knn = self._member.validate(state.evaluated)
                self._clock.validation_seconds += time.monotonic() - asked_at
                self._curve.add_validation(step, epochs_done - 1, knn)
            self._judged = state, knn

        self._unless_failed(look)

    def save(self, epochs_done: int) -> None:
        """Begin to write the state that was found good, if it was."""
        if self._judged is not None:
            state, knn = self._judged
            self._member.checkpoints.save(state, self._clock.position(epochs_done), knn)

    def finish(self) -> None:
        """Wait until it is written."""
        self._judged = None
        self._member.checkpoints.finish()
        self._curve.restart_clock()

    def _unless_failed(self, act: Callable[[], None]) -> None:
        if self.failure is None:
            try:
                act()
            except NotFinite as failure:
                self.failure = failure
                tqdm.write(f"{self._member.name}: {failure}")


class _SilentBar:
    """The bar of all members for the curve of one, which counts its views there and says nothing."""

    def __init__(self, bar: tqdm):
        self.update = bar.update

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """Say nothing."""
