"""A trained encoder with all that is needed to use it: from the workdir of a run, without its data."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from tcl_jax.errors import UserError
from tcl_jax.experiment.build import Facts, Training, build_training
from tcl_jax.models import ContrastiveModel, ProjectionHead
from tcl_jax.parallel import make_mesh
from tcl_jax.run.saved import read_best, read_latest
from tcl_jax.run.workdir import Workdir
from tcl_jax.train.state import params_sha256

CHECKPOINTS = ("latest", "best")


class About(NamedTuple):
    """What an encoder is, and where it is from.

    Attributes:
      model, stem, width, precision: as in the config.
      image_shape: (h, w, c), pixels.
      mean, std: [c], of the pixels divided by 255, by which images are normalised.
      class_names: of the data it was trained on, by label.
      config_name, dataset, loss: of the run.
      checkpoint: "latest" or "best".
      step: updates of the weights until then.
      weights: "average" for the moving average of the weights, "trained" for the weights themselves.
      params_sha256: of what was trained, as in results.json.
    """

    model: str
    stem: str
    width: int
    precision: str
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    config_name: str
    dataset: str
    loss: str
    checkpoint: str
    step: int
    weights: str
    params_sha256: str


class Trained(NamedTuple):
    """An encoder, its head where there is one, and what is known of them.

    Attributes:
      model: encoder and head.
      variables: "params" and "batch_stats" of the model; those of the head may be missing.
    """

    model: ContrastiveModel
    variables: Mapping[str, Any]
    about: About

    @property
    def has_projection(self) -> bool:
        """Whether there is a projection head: not after training with cross-entropy."""
        return isinstance(self.model.head, ProjectionHead) and "head" in self.variables["params"]


def read_trained(workdir: Workdir, *, checkpoint: str, mesh: Mesh) -> Trained:
    """The encoder in a checkpoint of a run, on the devices of `mesh`; the run may be in training, and is not touched.

    Args:
      checkpoint: "latest" or "best".

    Raises:
      UserError: there is no run, no such checkpoint, or a run of another version.
      RunFailed: its checkpoints cannot be read.
    """
    if checkpoint not in CHECKPOINTS:
        raise UserError(f"There is no checkpoint {checkpoint!r}, expected one of {', '.join(CHECKPOINTS)}.")
    name, config = workdir.read_config()
    stored = workdir.read_facts()
    if stored is None:
        raise UserError(
            f"The run in {workdir.path} does not tell how images go into its encoder, as it is of an older version: "
            "use that version, or train it again in another folder."
        )
    training, facts = _build(config, stored, workdir)
    read = read_best if checkpoint == "best" else read_latest
    state = read(workdir.checkpoints, jax.eval_shape(training.initial_state), mesh)
    about = About(
        model=config.model.name,
        stem=config.model.stem,
        width=config.model.width,
        precision=config.train.precision,
        image_shape=facts.image_shape,
        mean=facts.mean,
        std=facts.std,
        class_names=facts.class_names,
        config_name=name,
        dataset=config.data.name,
        loss=config.loss.name,
        checkpoint=checkpoint,
        step=int(state.step),
        weights="trained" if state.average is None else "average",
        params_sha256=params_sha256(state),
    )
    return Trained(training.model, state.evaluated, about)


def _build(config: ConfigDict, stored: Mapping[str, Any], workdir: Workdir) -> tuple[Training, Facts]:
    """The parts of a run as for one device, which divides every batch: how many there are now does not matter here."""
    try:
        facts = Facts(**{what: _tuple(value) for what, value in stored.items()})
        return build_training(config, facts, make_mesh(1)), facts
    except (AttributeError, TypeError) as error:  # a field or a fact that is missing, or one too many
        raise UserError(
            f"The run in {workdir.path} was made by another version of tcl_jax ({error}): use that version."
        ) from error


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
