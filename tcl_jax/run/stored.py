"""Checkpoints as they are stored, read on any number of devices; nothing of a run is touched."""

import json
import zlib
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tcl_jax.errors import RunFailed, in_short
from tcl_jax.processes import on_first

METRIC = "validation"  # what Orbax calls the metric of the held-out images
CHECKSUM = "checksum"  # of each part of the state, kept with its position
_INDEX = "manifest.ocdbt"  # names all arrays of a part; Orbax makes it last, of those of all processes
_OF_A_PROCESS = "ocdbt.process_0"


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
            found = read_step(directory, step, template, mesh)
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
        return read_step(directory, step, template, mesh)
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
        if (value := stored_value(metrics_file(directory, step))) is not None
    ]
    return max(known, key=lambda best: (best.value, best.step), default=None)


def parts_without_index(checkpoint: epath.Path, parts: Collection[str]) -> list[str]:
    """Parts of a checkpoint whose arrays nobody would find again; none of one that was removed."""
    return [
        part for part in parts if (checkpoint / part).exists() and not (checkpoint / part / _INDEX).exists()
    ]


def _remedy(checkpoint: epath.Path, parts: Collection[str]) -> str:
    """What to do where no checkpoint can be read, of which this is one."""
    without = parts_without_index(checkpoint, parts)
    if any((checkpoint / part / _OF_A_PROCESS).exists() for part in without):
        return (
            "they lack their index, as an older version wrote them under a path with *, ? or [ in it; docs/faults.md "
            "has the command that makes it"
        )
    return "train the run again with another --workdir"


def last_whole_step(directory: epath.Path) -> int | None:
    """Step of the newest checkpoint whose writing came to its end; None where there is none."""
    return max(steps_of(directory), default=None)


def read_step(directory: epath.Path, step: int, template: Mapping[str, Any], mesh: Mesh) -> Read:
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
    written = found.position.pop(CHECKSUM)
    for name in template:
        if written[name] != checksum(found[name]):
            raise ValueError("the arrays are not those that were saved")
    return Read(step, {name: found[name] for name in template}, Position(**found.position))


def checksum(tree: Any) -> int:
    """CRC-32 of the bytes of all arrays: TensorStore reads a file of the right length without a word."""
    checksum = 0
    for leaf in jax.tree.leaves(jax.device_get(tree)):
        checksum = zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8).data, checksum)
    return checksum


def value_in(metrics: Any) -> float:
    """The metric in what Orbax keeps of it."""
    return metrics[METRIC]


def metrics_file(directory: epath.Path, step: int) -> epath.Path:
    """Where Orbax keeps the metric of a checkpoint."""
    return directory / str(step) / "metrics" / "metrics"


def stored_value(path: epath.Path) -> float | None:
    """The metric in a file of Orbax; None where it was not taken, or is damaged."""
    try:
        return float(value_in(json.loads(path.read_text())))
    except (OSError, ValueError, TypeError, KeyError):
        return None
