"""What an encoder is: all that is needed to make it again and to hand it images, as words and numbers."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jax.sharding import Mesh

from tcl_jax.models.contrastive import ContrastiveModel
from tcl_jax.models.make import compute_dtype, make_model, takes


class EncoderDescription(NamedTuple):
    """What an encoder is, and where it is from.

    Attributes:
      model, stem, width, precision, projection_dim: as in the config.
      head: what it was trained with, a "projection" or a "classifier".
      weights: "average" for the moving average of the weights, "trained" for the weights themselves.
      image_shape: (h, w, c), pixels.
      mean, std: [c], of pixels divided by 255, by which images are normalised: of the training images, or those of the
        encoder that training began with.
      class_names: of the data it was trained on, by label.
      config_name, dataset, loss: of the run.
      checkpoint: "latest" or "best"; "" for a run as such.
      step: updates of the weights until then.
      params_sha256: of what was trained, as in results.json.
    """

    model: str
    stem: str
    width: int
    precision: str
    projection_dim: int
    head: str
    weights: str
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    config_name: str
    dataset: str
    loss: str
    checkpoint: str = ""
    step: int = 0
    params_sha256: str = ""

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "EncoderDescription":
        """The description that JSON holds, which makes lists of tuples.

        Raises:
          TypeError: a field is missing, or there is one too many.
        """
        fields: Any = {name: tuple(x) if isinstance(x, list) else x for name, x in stored.items()}
        return cls(**fields)

    def make_model(self, mesh: Mesh) -> ContrastiveModel:
        """The encoder with its head, for use on the devices of `mesh`."""
        return make_model(
            self.model,
            stem=self.stem,
            width=self.width,
            projection_dim=self.projection_dim,
            num_classes=len(self.class_names) if self.head == "classifier" else None,
            dtype=encoder_dtype(self.model, self.precision, mesh),
        )


def encoder_dtype(model: str, precision: str, mesh: Mesh) -> Any:
    """The dtype that an encoder computes in on the devices of `mesh`; None follows its parameters.

    With "auto" an encoder of the user's own that takes no dtype follows its parameters.
    """
    dtype = compute_dtype(precision, mesh.devices.flat[0].platform)
    return None if precision == "auto" and dtype is not None and not takes(model, "dtype") else dtype
