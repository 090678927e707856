"""A checkpoint of a run that may be in training elsewhere: it is read, and nothing of the run is touched."""

import json

import orbax.checkpoint as ocp
from etils import epath
from jax.sharding import Mesh

from tcl_jax.errors import RunFailed, UserError, in_short
from tcl_jax.run.checkpoint import read_state
from tcl_jax.train.state import TrainState


def read_latest(directory: epath.Path, template: TrainState, mesh: Mesh) -> TrainState:
    """The newest checkpoint that can be read, on the devices of `mesh`, whatever wrote it.

    A damaged one is passed over with a line that says so, and one that a training run deletes meanwhile makes way for
    a newer one.

    Args:
      template: structure, shapes and dtypes.

    Raises:
      UserError: there is none.
      RunFailed: there are checkpoints, and none can be read.
    """
    failed: dict[int, Exception] = {}
    while steps := _steps(directory) - failed.keys():
        step = max(steps)
        try:
            state = _read(directory, step, template, mesh)
        except Exception as error:  # what a damaged file raises depends on where the damage is
            failed[step] = error
            continue
        for number, cause in failed.items():
            print(
                f"The checkpoint of step {number} cannot be read ({in_short(cause)}): reading that of step {step}."
            )
        return state
    if not failed:
        raise UserError(f"There is no checkpoint in {directory} yet: train the run first.")
    number, cause = max(failed.items(), key=lambda item: item[0])
    raise RunFailed(
        f"None of the {len(failed)} checkpoints in {directory} can be read (step {number}: {in_short(cause)}): "
        "train the run again in another folder."
    )


def read_best(directory: epath.Path, template: TrainState, mesh: Mesh) -> TrainState:
    """The checkpoint with the highest kNN accuracy of the held-out images, of equal ones the latest, as `read_latest`.

    Raises:
      UserError: there is none.
      RunFailed: it cannot be read; no other one stands in for it.
    """
    known = {step: knn for step in _steps(directory) if (knn := _knn(directory, step)) is not None}
    if not known:
        raise UserError(
            f"There is no best checkpoint in {directory}, as none was made at the end of an epoch with "
            "validation.images above 0: take the latest."
        )
    step = max(known, key=lambda step: (known[step], step))
    try:
        return _read(directory, step, template, mesh)
    except Exception as error:  # as in read_latest
        raise RunFailed(
            f"The best checkpoint in {directory}, that of step {step}, cannot be read ({in_short(error)}): "
            "take the latest."
        ) from error


def _steps(directory: epath.Path) -> set[int]:
    """Those of the checkpoints whose writing came to its end."""
    try:
        return set(ocp.utils.checkpoint_steps(directory))
    except OSError:  # the folder was never made
        return set()


def _knn(directory: epath.Path, step: int) -> float | None:
    try:
        return json.loads((directory / str(step) / "metrics" / "metrics").read_text())["validation_knn"]
    except (OSError, ValueError, TypeError, KeyError):  # not taken, or damaged
        return None


def _read(directory: epath.Path, step: int, template: TrainState, mesh: Mesh) -> TrainState:
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        state, _ = read_state(
            lambda args: checkpointer.restore(directory / str(step), args=args), template, mesh
        )
    return state
