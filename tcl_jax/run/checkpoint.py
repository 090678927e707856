"""Checkpoints: the training state and its place in the run, written by Orbax in the background."""

import contextlib
import errno
import fnmatch
import os
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NoReturn, Protocol, TypeVar

import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import Mesh
from orbax.checkpoint import checkpoint_managers as policies

from tcl_jax.errors import Interrupted, RunFailed, WriteFailed, in_short
from tcl_jax.processes import is_first, on_first
from tcl_jax.run.stored import (
    CHECKSUM,
    METRIC,
    Best,
    Position,
    best_of,
    checksum,
    metrics_file,
    parts_without_index,
    read_best,
    read_latest,
    read_step,
    steps_of,
    stored_value,
    value_in,
)

_TRIES = 20  # to remove what is left of a checkpoint


class Saveable(Protocol):
    """A state that can be saved: a tree of arrays with the number of its step.

    Its parts are trees of arrays by name, each of which can be read alone.
    """

    @property
    def step(self) -> Any:
        """Number of the step."""

    def items(self) -> Mapping[str, Any]:
        """The parts."""

    @classmethod
    def from_items(cls, items: Mapping[str, Any]) -> Any:
        """The state of such parts."""


S = TypeVar("S", bound=Saveable)


class Checkpoints:
    """The checkpoints of one run, of which the latest two and the best are kept.

    A context manager: leaving it ends all writing. A checkpoint without a metric is never the best.

    Args:
      directory: absolute path; it is made if it is missing.
    """

    def __init__(self, directory: epath.Path):
        on_first(lambda: _remove_damaged_metrics(directory))
        options = ocp.CheckpointManagerOptions(
            create=True,
            enable_async_checkpointing=True,
            best_fn=value_in,  # without it Orbax writes no metrics, whatever the policy below looks at
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(2),
                    policies.BestN(get_metric_fn=value_in, n=1, keep_checkpoints_without_metrics=False),
                ]
            ),
        )
        try:
            self._manager = ocp.CheckpointManager(directory, options=options)
        except OSError as error:
            raise WriteFailed(f"The folder {directory}", error) from error
        self._directory = directory
        self._superseded: list[int] = []
        self._parts: tuple[str, ...] = ()  # of the checkpoint of _step
        self._step: int | None = None  # of the checkpoint that is being written, or was last

    def save(self, state: Saveable, position: Position, value: float | None = None) -> None:
        """Start to write a checkpoint, once the one before is whole; returns when `state` may be donated.

        Args:
          value: metric of the held-out images, None where it was not taken.

        Raises:
          WriteFailed: this checkpoint cannot be written, or the one before was not.
        """
        self.finish()
        first, self._step = self._step is None, int(state.step)
        try:
            self._start(state, position, value, first)
        except RunFailed:
            raise
        except Exception as error:  # as in finish
            self._fail(error)

    def _start(self, state: Saveable, position: Position, value: float | None, first: bool) -> None:
        step = int(state.step)
        if (
            not self._directory.exists()
        ):  # Orbax would make it anew, in a folder that holds nothing else of the run
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if first:  # what processes left that were killed: the names of steps that may never come again
            self._remove_unfinished("*")
        while self._superseded:  # Orbax saves no step below its newest, and the run has come by here again
            self._manager.delete(self._superseded.pop())
        if step in self._manager.all_steps():
            return
        parts = state.items()
        self._parts = tuple(parts)
        checksums = {name: checksum(part) for name, part in parts.items()}
        items = ocp.args.Composite(
            position=ocp.args.JsonSave(position._asdict() | {CHECKSUM: checksums}),
            **{name: ocp.args.StandardSave(part) for name, part in parts.items()},
        )
        metrics = None if value is None else {METRIC: value}
        if not self._manager.save(step, args=items, metrics=metrics):
            raise RunFailed(
                f"The checkpoint of step {step} was not written, as {self._manager.directory} holds one of a later "
                "step: is another process at work on this run?"
            )

    def finish(self) -> None:
        """Wait until the checkpoint that is being written is whole.

        Raises:
          WriteFailed: it cannot be written.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:  # Orbax passes on whatever stopped its thread
            self._fail(error)
        missing = on_first(lambda: parts_without_index(self._directory / str(self._step), self._parts))
        if missing:
            raise WriteFailed(
                f"The checkpoint of step {self._step}", ValueError(f"{missing[0]} has no index")
            )

    def _fail(self, error: Exception) -> NoReturn:
        """What there is of the checkpoint gives its space back, and the error names its step."""
        self._remove_unfinished(str(self._step))
        raise WriteFailed(f"The checkpoint of step {self._step}", error) from error

    def _remove_unfinished(self, steps: str) -> None:
        if not is_first():
            return
        # Another part of a checkpoint that failed may still be written, which makes its folder anew.
        for _ in range(_TRIES):
            names = f"{steps}.orbax-checkpoint-tmp*"
            # Not by glob, which takes the folder's own path for a pattern too.
            unfinished = [path for path in _inside(self._directory) if fnmatch.fnmatch(path.name, names)]
            if not unfinished:
                return
            for path in unfinished:
                with contextlib.suppress(OSError):
                    path.rmtree()
            time.sleep(0.1)

    def restore_latest(self, template: S, mesh: Mesh) -> tuple[S, Position] | None:
        """The newest checkpoint that can be read, on the devices of `mesh`, or None where none was written.

        The number of devices may be another than when it was written. `template` gives structure, shapes and dtypes.
        A damaged checkpoint is passed over, with a line that says so, and removed when the next one is saved.

        Raises:
          RunFailed: there are checkpoints, and none can be read.
        """
        found = read_latest(self._directory, template.items(), mesh)
        if found is None:
            return None
        self._superseded += found.damaged
        return type(template).from_items(found.items), found.position

    def restore_best(self, template: S, mesh: Mesh) -> tuple[S, Position] | None:
        """The best checkpoint, as `restore_latest` gives the newest; None where none has a metric.

        Raises:
          RunFailed: it cannot be read; no other one stands in for it.
        """
        self.finish()
        found = read_best(self._directory, template.items(), mesh)
        return found and (type(template).from_items(found.items), found.position)

    def restore(self, step: int, template: S, mesh: Mesh) -> tuple[S, Position]:
        """The checkpoint of a step, as `restore_latest` gives the newest; later ones are removed when one is saved.

        Raises:
          RunFailed: it cannot be read.
        """
        try:
            found = read_step(self._directory, step, template.items(), mesh)
        except Exception as error:  # what a damaged file raises depends on where the damage is
            raise RunFailed(
                f"The checkpoint of step {step} in {self._directory} is damaged ({in_short(error)}): "
                "delete its folder and repeat the command."
            ) from error
        later = {number for number in steps_of(self._directory) if number > step}
        self._superseded = sorted(later | set(self._superseded))
        return type(template).from_items(found.items), found.position

    def has(self, step: int) -> bool:
        """Whether there is a whole checkpoint of a step."""
        return step in steps_of(self._directory)

    def best(self) -> Best | None:
        """Which checkpoint is the best, once all are written; None where none has a metric."""
        self.finish()
        found = on_first(lambda: best_of(self._directory, ignored=self._superseded))
        return found and Best(*found)

    def latest_step(self) -> int | None:
        """Step of the newest checkpoint that is written or being written."""
        return self._manager.latest_step()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.finish()
        except WriteFailed as failed:
            if error is None or isinstance(error, Interrupted):  # which says that the state is saved
                raise
            print(failed, file=sys.stderr)  # beside the error that came first, which ends the run
        finally:
            self._manager.close()


def _inside(directory: epath.Path) -> list[epath.Path]:
    return list(directory.iterdir()) if directory.exists() else []


def _remove_damaged_metrics(directory: epath.Path) -> None:
    """Orbax reads the metrics of every checkpoint when it starts, and gives up at the first that it cannot read."""
    for step in steps_of(directory):
        path = metrics_file(directory, step)
        if path.exists() and stored_value(path) is None:  # that checkpoint is not one of the best any more
            path.unlink()
