"""Checkpoints: the training state and its place in the run, written by Orbax in the background."""

from types import TracebackType
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

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
      directory: absolute path; it is made when the first checkpoint is written.
    """

    def __init__(self, directory: epath.Path):
        options = ocp.CheckpointManagerOptions(max_to_keep=2, create=True, enable_async_checkpointing=True)
        self._manager = ocp.CheckpointManager(directory, options=options)

    def save(self, state: TrainState, position: Position) -> None:
        """Start to write a checkpoint; returns when `state` may be donated."""
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), position=ocp.args.JsonSave(position._asdict())
        )
        self._manager.save(step, args=items)

    def restore_latest(self, template: TrainState, mesh: Mesh) -> tuple[TrainState, Position] | None:
        """The newest checkpoint, on the devices of `mesh`, or None where there is none.

        The number of devices may be another than when it was written. `template` gives structure, shapes and dtypes.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
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
