"""Checkpoints: the training state and its place in the run, written by Orbax in the background."""

import contextlib
import errno
import json
import os
import sys
import zlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, NoReturn

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from orbax.checkpoint import checkpoint_managers as policies

from tcl_jax.errors import Interrupted, RunFailed, WriteFailed, in_short
from tcl_jax.processes import is_first, on_first
from tcl_jax.train.state import TrainState

_CHECKSUM = "checksum"  # of the state, kept with its position


class Position(NamedTuple):
    """Where in a run a checkpoint was taken, and what the run took so far.

    Attributes:
      epoch: epochs completed.
      train_seconds: wall time in the training loop, over all processes that worked on the run.
      compile_seconds: the part of it until the first step of each process was done.
      validation_seconds: the part of it spent on the accuracy of the held-out images.
    """

    epoch: int = 0
    train_seconds: float = 0.0
    compile_seconds: float = 0.0
    validation_seconds: float = 0.0


class Best(NamedTuple):
    """The checkpoint with the highest kNN accuracy of the held-out images; of equal ones the latest."""

    step: int
    validation_knn: float


class Checkpoints:
    """The checkpoints of one run, of which the latest two and the best are kept.

    A context manager: leaving it ends all writing. A checkpoint without a kNN accuracy is never the best.

    Args:
      directory: absolute path; it is made if it is missing.
    """

    def __init__(self, directory: epath.Path):
        on_first(lambda: _remove_damaged_metrics(directory))
        options = ocp.CheckpointManagerOptions(
            create=True,
            enable_async_checkpointing=True,
            best_fn=_validation_knn,  # without it Orbax writes no metrics, whatever the policy below looks at
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(2),
                    policies.BestN(
                        get_metric_fn=_validation_knn, n=1, keep_checkpoints_without_metrics=False
                    ),
                ]
            ),
        )
        try:
            self._manager = ocp.CheckpointManager(directory, options=options)
        except OSError as error:
            raise WriteFailed(f"The folder {directory}", error) from error
        self._directory = directory
        self._superseded: list[int] = []
        self._step: int | None = None  # of the checkpoint that is being written, or was last

    def save(self, state: TrainState, position: Position, validation_knn: float | None = None) -> None:
        """Start to write a checkpoint; returns when `state` may be donated.

        Args:
          validation_knn: kNN accuracy of the held-out images, None where it was not taken.

        Raises:
          WriteFailed: this checkpoint cannot be written, or the one before was not.
        """
        self.finish()
        first, self._step = self._step is None, int(state.step)
        try:
            self._start(state, position, validation_knn, first)
        except RunFailed:
            raise
        except Exception as error:  # as in finish
            self._fail(error)

    def _start(
        self, state: TrainState, position: Position, validation_knn: float | None, first: bool
    ) -> None:
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
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            position=ocp.args.JsonSave(position._asdict() | {_CHECKSUM: _checksum(state)}),
        )
        metrics = None if validation_knn is None else {"validation_knn": validation_knn}
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

    def _fail(self, error: Exception) -> NoReturn:
        """What there is of the checkpoint gives its space back, and the error tells which one it was."""
        self._remove_unfinished(str(self._step))
        raise WriteFailed(f"The checkpoint of step {self._step}", error) from error

    def _remove_unfinished(self, steps: str) -> None:
        if is_first():
            for path in self._directory.glob(f"{steps}.orbax-checkpoint-tmp*"):
                with contextlib.suppress(OSError):
                    path.rmtree()

    def restore_latest(self, template: TrainState, mesh: Mesh) -> tuple[TrainState, Position] | None:
        """The newest checkpoint that can be read, on the devices of `mesh`, or None where none was written.

        The number of devices may be another than when it was written. `template` gives structure, shapes and dtypes.
        A damaged checkpoint is passed over, with a line that says so, and removed when the next one is saved.

        Raises:
          RunFailed: there are checkpoints, and none can be read.
        """
        damaged: dict[int, Exception] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                restored = self._restore(step, template, mesh)
            except Exception as error:  # what a damaged file raises depends on where the damage is
                damaged[step] = error
                continue
            for number, cause in damaged.items():
                print(
                    f"The checkpoint of step {number} is damaged ({in_short(cause)}): "
                    f"continuing from that of step {step}."
                )
                self._superseded.append(number)
            return restored
        if damaged:
            step, cause = next(iter(damaged.items()))
            raise RunFailed(
                f"None of the {len(damaged)} checkpoints in {self._manager.directory} can be read "
                f"(step {step}: {in_short(cause)}): start again with another --workdir."
            )
        return None

    def restore(self, step: int, template: TrainState, mesh: Mesh) -> tuple[TrainState, Position]:
        """The checkpoint of a step, as `restore_latest` gives the newest; later ones are removed when one is saved.

        Raises:
          RunFailed: it cannot be read.
        """
        try:
            restored = self._restore(step, template, mesh)
        except Exception as error:  # as in restore_latest
            raise RunFailed(
                f"The checkpoint of step {step} in {self._manager.directory} is damaged ({in_short(error)}): "
                "delete its folder and repeat the command."
            ) from error
        later = {number for number in self._manager.all_steps() if number > step}
        self._superseded = sorted(later | set(self._superseded))
        return restored

    def has(self, step: int) -> bool:
        """Whether there is a whole checkpoint of a step."""
        return step in self._manager.all_steps()

    def restore_best(self, template: TrainState, mesh: Mesh) -> tuple[TrainState, Position] | None:
        """The best checkpoint, as `restore_latest` gives the newest; None where none has a kNN accuracy.

        Raises:
          RunFailed: it cannot be read; no other one stands in for it.
        """
        best = self.best()
        if best is None:
            return None
        try:
            return self._restore(best.step, template, mesh)
        except Exception as error:  # as in restore_latest
            raise RunFailed(
                f"The best checkpoint in {self._manager.directory}, that of step {best.step}, is damaged "
                f"({in_short(error)}): evaluate the latest with --checkpoint=latest."
            ) from error

    def best(self) -> Best | None:
        """Which checkpoint is the best, once all are written; None where none has a kNN accuracy."""
        self.finish()
        found = on_first(self._find_best)
        return found and Best(*found)

    def _find_best(self) -> Best | None:
        metrics = {step: self._manager.metrics(step) for step in self._manager.all_steps()}
        known = [
            Best(step, _validation_knn(found))
            for step, found in metrics.items()
            if found is not None and step not in self._superseded
        ]
        return max(known, key=lambda best: (best.validation_knn, best.step), default=None)

    def latest_step(self) -> int | None:
        """Step of the newest checkpoint that is written or being written."""
        return self._manager.latest_step()

    def _restore(self, step: int, template: TrainState, mesh: Mesh) -> tuple[TrainState, Position]:
        return read_state(lambda args: self._manager.restore(step, args=args), template, mesh)

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


def read_state(
    restore: Callable[[Any], Any], template: TrainState, mesh: Mesh
) -> tuple[TrainState, Position]:
    """A checkpoint on the devices of `mesh`, of which every byte is that which was written.

    Args:
      restore: Orbax's, of one checkpoint: its arguments -> its items.
      template: structure, shapes and dtypes.

    Raises:
      Exception: it is damaged; the kind depends on where the damage is.
    """
    replicated = NamedSharding(mesh, P())

    def describe(x: jax.Array) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated)

    items = restore(
        ocp.args.Composite(
            state=ocp.args.StandardRestore(jax.tree.map(describe, template)),
            position=ocp.args.JsonRestore(),
        )
    )
    written = items.position.pop(_CHECKSUM, None)  # None: by an older version
    if written not in (None, _checksum(items.state)):
        raise ValueError("the arrays are not those that were saved")
    return items.state, Position(**items.position)


def _checksum(state: TrainState) -> int:
    """CRC-32 of the bytes of all arrays: TensorStore reads a file of the right length without a word."""
    checksum = 0
    for leaf in jax.tree.leaves(jax.device_get(state)):
        checksum = zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8).data, checksum)
    return checksum


def last_whole_step(directory: epath.Path) -> int | None:
    """Step of the newest checkpoint whose writing came to its end; None where there is none."""
    try:
        return max(ocp.utils.checkpoint_steps(directory), default=None)
    except OSError:  # the folder was never made, or is gone
        return None


def _validation_knn(metrics: Any) -> float:
    return metrics["validation_knn"]


def _remove_damaged_metrics(directory: epath.Path) -> None:
    """Orbax reads the metrics of every checkpoint when it starts, and gives up at the first that it cannot read."""
    for path in directory.glob("*/metrics/metrics"):
        try:
            _validation_knn(json.loads(path.read_text()))
        except (ValueError, TypeError, KeyError):  # that checkpoint is none of the best any more
            path.unlink()
