"""A trained encoder with all that is needed to use it, and what is known of it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tcl_jax.models import ContrastiveModel, ProjectionHead


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
      variables: of the model; those of the head may be missing.
    """

    model: ContrastiveModel
    variables: Mapping[str, Any]
    about: About

    @property
    def has_projection(self) -> bool:
        """Whether there is a projection head: not after training with cross-entropy."""
        return isinstance(self.model.head, ProjectionHead) and "head" in self.variables["params"]
