"""Checkpoints: the training state and its place in the run, written by Orbax in the background."""

import textwrap
from types import TracebackType
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tcl_jax.errors import RunFailed
from tcl_jax.train.state import TrainState


class Position(NamedTuple):
    """Where in a run a checkpoint was taken, and what the run took so far.

    Attributes:
      epoch: epochs completed.
      train_seconds: wall time in the training loop, over all processes that worked on the run.
      compile_seconds: the part of it until the first step of each process was done.
    """

    epoch: int = 0
    train_seconds: float = 0.0
    compile_seconds: float = 0.0


class Checkpoints:
    """The checkpoints of one run, of which the latest two are kept. A context manager: leaving it ends all writing.

    Args:
      directory: absolute path; it is made if it is missing.
    """

    def __init__(self, directory: epath.Path):
        options = ocp.CheckpointManagerOptions(max_to_keep=2, create=True, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(directory, options=options)
        self._damaged: list[int] = []

    def save(self, state: TrainState, position: Position) -> None:
        """Start to write a checkpoint; returns when `state` may be donated."""
        step = int(state.step)
        while self._damaged:  # Orbax saves no step below its newest, and the run has come by here again
            self._manager.delete(self._damaged.pop())
        if step in self._manager.all_steps():
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), position=ocp.args.JsonSave(position._asdict())
        )
        if not self._manager.save(step, args=items):
            raise RunFailed(
                f"The checkpoint of step {step} was not written, as {self._manager.directory} holds one of a later "
                "step: is another process at work on this run?"
            )

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
                    f"The checkpoint of step {number} is damaged ({_in_short(cause)}): "
                    f"continuing from that of step {step}."
                )
                self._damaged.append(number)
            return restored
        if damaged:
            step, cause = next(iter(damaged.items()))
            raise RunFailed(
                f"None of the {len(damaged)} checkpoints in {self._manager.directory} can be read "
                f"(step {step}: {_in_short(cause)}): start again with another --workdir."
            )
        return None

    def latest_step(self) -> int | None:
        """Step of the newest checkpoint that is written or being written."""
        return self._manager.latest_step()

    def _restore(self, step: int, template: TrainState, mesh: Mesh) -> tuple[TrainState, Position]:
        replicated = NamedSharding(mesh, P())

        def describe(x: jax.Array) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated)

        items: Any = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(jax.tree.map(describe, template)),
                position=ocp.args.JsonRestore(),
            ),
        )
        return items.state, Position(**items.position)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._manager.wait_until_finished()
        self._manager.close()


def _in_short(error: Exception) -> str:
    return textwrap.shorten(f"{type(error).__name__}: {error}", width=160, placeholder=" ...")
