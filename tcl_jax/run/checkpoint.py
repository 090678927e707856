"""Checkpoints: the training state and its place in the run, written by Orbax in the background, and read anywhere."""

import contextlib
import errno
import fnmatch
import json
import os
import sys
import time
import zlib
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any, NamedTuple, NoReturn, Protocol, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from orbax.checkpoint import checkpoint_managers as policies

from tcl_jax.errors import Interrupted, RunFailed, WriteFailed, in_short
from tcl_jax.processes import is_first, on_first

_TRIES = 20  # to remove what is left of a checkpoint
_METRIC = "validation"  # what Orbax calls the metric of the held-out images
_CHECKSUM = "checksum"  # of each part of the state, kept with its position
_INDEX = "manifest.ocdbt"  # names all arrays of a part; Orbax makes it last, of those of all processes
_OF_A_PROCESS = "ocdbt.process_0"


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
    """The checkpoint with the highest metric of the held-out images, and that value; ties go to the latest."""

    step: int
    value: float


class Read(NamedTuple):
    """What was read of a checkpoint.

    Attributes:
      step: of the state.
      items: the parts that were asked for, by name.
      position: where in the run it was taken.
      damaged: steps of newer checkpoints that cannot be read.
    """

    step: int
    items: dict[str, Any]
    position: Position
    damaged: tuple[int, ...] = ()


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
            best_fn=_value,  # without it Orbax writes no metrics, whatever the policy below looks at
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(2),
                    policies.BestN(get_metric_fn=_value, n=1, keep_checkpoints_without_metrics=False),
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
        checksums = {name: _checksum(part) for name, part in parts.items()}
        items = ocp.args.Composite(
            position=ocp.args.JsonSave(position._asdict() | {_CHECKSUM: checksums}),
            **{name: ocp.args.StandardSave(part) for name, part in parts.items()},
        )
        metrics = None if value is None else {_METRIC: value}
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
        missing = on_first(lambda: _parts_without_index(self._directory / str(self._step), self._parts))
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
            found = _read(self._directory, step, template.items(), mesh)
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


def read_latest(directory: epath.Path, template: Mapping[str, Any], mesh: Mesh) -> Read | None:
    """The newest checkpoint of a run that can be read, on the devices of `mesh`; None where there is none.

    The run may be in training elsewhere: nothing of it is touched, and a checkpoint that is deleted meanwhile makes way
    for a newer one. A damaged one is passed over, with a line that says so.

    Args:
      template: structure, shapes and dtypes of the parts that are wanted, by name.

    Raises:
      RunFailed: there are checkpoints, and none can be read.
    """
    failed: dict[int, Exception] = {}
    while wanted := steps_of(directory) - failed.keys():
        step = max(wanted)
        try:
            found = _read(directory, step, template, mesh)
        except Exception as error:  # what a damaged file raises depends on where the damage is
            failed[step] = error
            continue
        damaged = sorted(steps_of(directory) & failed.keys(), reverse=True)
        for number in damaged:
            print(
                f"The checkpoint of step {number} is damaged ({in_short(failed[number])}): taking that of step {step}."
            )
        return found._replace(damaged=tuple(damaged))
    if not failed:
        return None
    step, cause = max(failed.items(), key=lambda item: item[0])
    raise RunFailed(
        f"None of the {len(failed)} checkpoints in {directory} can be read (step {step}: {in_short(cause)}): "
        f"{_remedy(directory / str(step), tuple(template))}."
    )


def read_best(directory: epath.Path, template: Mapping[str, Any], mesh: Mesh) -> Read | None:
    """The best checkpoint of a run, as `read_latest` gives the newest; None where none has a metric.

    Raises:
      RunFailed: it cannot be read; no other one stands in for it.
    """
    found = on_first(lambda: best_of(directory))
    if found is None:
        return None
    step = Best(*found).step
    try:
        return _read(directory, step, template, mesh)
    except Exception as error:  # as in read_latest
        raise RunFailed(
            f"The best checkpoint in {directory}, that of step {step}, is damaged ({in_short(error)}): "
            "take the latest, with --checkpoint=latest."
        ) from error


def steps_of(directory: epath.Path) -> set[int]:
    """Steps of the checkpoints whose writing came to its end."""
    try:
        return set(ocp.utils.checkpoint_steps(directory))
    except OSError:  # the folder was never made, or is gone
        return set()


def best_of(directory: epath.Path, *, ignored: Collection[int] = ()) -> Best | None:
    """Which checkpoint is the best, those of the steps `ignored` left out."""
    known = [
        Best(step, value)
        for step in steps_of(directory) - set(ignored)
        if (value := _stored_value(directory / str(step) / "metrics" / "metrics")) is not None
    ]
    return max(known, key=lambda best: (best.value, best.step), default=None)


def _parts_without_index(checkpoint: epath.Path, parts: Collection[str]) -> list[str]:
    """Parts of a checkpoint whose arrays nobody would find again; none of one that was removed."""
    return [
        part for part in parts if (checkpoint / part).exists() and not (checkpoint / part / _INDEX).exists()
    ]


def _remedy(checkpoint: epath.Path, parts: Collection[str]) -> str:
    """What to do where no checkpoint can be read, of which this is one."""
    without = _parts_without_index(checkpoint, parts)
    if any((checkpoint / part / _OF_A_PROCESS).exists() for part in without):
        return (
            "they lack their index, as an older version wrote them under a path with *, ? or [ in it; docs/faults.md "
            "has the command that makes it"
        )
    return "train the run again with another --workdir"


def _inside(directory: epath.Path) -> list[epath.Path]:
    return list(directory.iterdir()) if directory.exists() else []


def last_whole_step(directory: epath.Path) -> int | None:
    """Step of the newest checkpoint whose writing came to its end; None where there is none."""
    return max(steps_of(directory), default=None)


def _read(directory: epath.Path, step: int, template: Mapping[str, Any], mesh: Mesh) -> Read:
    """A checkpoint on the devices of `mesh`, of which every byte is that which was written.

    Raises:
      Exception: it is damaged; the kind depends on where the damage is.
    """
    replicated = NamedSharding(mesh, P())

    def describe(x: jax.Array) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated)

    wanted = {name: ocp.args.StandardRestore(jax.tree.map(describe, part)) for name, part in template.items()}
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        found = checkpointer.restore(
            directory / str(step), args=ocp.args.Composite(position=ocp.args.JsonRestore(), **wanted)
        )
    written = found.position.pop(_CHECKSUM)
    for name in template:
        if written[name] != _checksum(found[name]):
            raise ValueError("the arrays are not those that were saved")
    return Read(step, {name: found[name] for name in template}, Position(**found.position))


def _checksum(tree: Any) -> int:
    """CRC-32 of the bytes of all arrays: TensorStore reads a file of the right length without a word."""
    checksum = 0
    for leaf in jax.tree.leaves(jax.device_get(tree)):
        checksum = zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8).data, checksum)
    return checksum


def _value(metrics: Any) -> float:
    return metrics[_METRIC]


def _stored_value(path: epath.Path) -> float | None:
    """The metric in a file of Orbax; None where it was not taken, or is damaged."""
    try:
        return float(_value(json.loads(path.read_text())))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _remove_damaged_metrics(directory: epath.Path) -> None:
    """Orbax reads the metrics of every checkpoint when it starts, and gives up at the first that it cannot read."""
    for path in directory.glob("*/metrics/metrics"):
        if _stored_value(path) is None:  # that checkpoint is not one of the best any more
            path.unlink()
