"""What an encoder is: all that is needed to make it again and to hand it images, as words and numbers."""

from typing import Any, NamedTuple

from jax.sharding import Mesh

from tcl_jax.models.contrastive import ContrastiveModel
from tcl_jax.models.make import compute_dtype, make_model, takes


class EncoderDescription(NamedTuple):
    """The encoder of a run, as encoder.json has it from the start of the run.

    Attributes:
      model, stem, width, precision, projection_dim: as in the config.
      head: "projection" or "classifier".
      average: whether a moving average of the weights is kept, which is then the encoder.
      image_shape: (h, w, c), pixels.
      mean, std: [c], of the training pixels divided by 255, by which images are normalised.
      class_names: of the data it is trained on, by label.
      config_name, dataset, loss: of the run.
    """

    model: str
    stem: str
    width: int
    precision: str
    projection_dim: int
    head: str
    average: bool
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    config_name: str
    dataset: str
    loss: str


def described_model(
    *,
    model: str,
    stem: str,
    width: int,
    precision: str,
    projection_dim: int,
    num_classes: int | None,
    mesh: Mesh,
) -> ContrastiveModel:
    """The model of a description, for use on the devices of `mesh`."""
    return make_model(
        model,
        stem=stem,
        width=width,
        projection_dim=projection_dim,
        num_classes=num_classes,
        dtype=encoder_dtype(model, precision, mesh),
    )


def encoder_dtype(model: str, precision: str, mesh: Mesh) -> Any:
    """The dtype that an encoder computes in on the devices of `mesh`; None follows its parameters.

    With "auto" an encoder of the user's own that takes no dtype follows its parameters.
    """
    dtype = compute_dtype(precision, mesh.devices.flat[0].platform)
    return None if precision == "auto" and dtype is not None and not takes(model, "dtype") else dtype
