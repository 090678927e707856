"""Encoder weights to begin a training with, of a run or from a file."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from tcl_jax.errors import UserError
from tcl_jax.models.contrastive import ContrastiveModel, params_sha256
from tcl_jax.models.description import EncoderDescription
from tcl_jax.models.layout import encoder_variables, in_brief, layout_of, mismatches, of_encoder
from tcl_jax.models.make import ENCODERS, model_shapes, takes
from tcl_jax.models.resnet import ResNet


class InitialEncoder(NamedTuple):
    """Encoder weights, and their description.

    Attributes:
      path: of the run or the file, as text for people.
      tensors: by the names of an exported file.
      description: what the encoder is; None where the file does not say, as torchvision's does not.
    """

    path: str
    tensors: Mapping[str, np.ndarray]
    description: EncoderDescription | None

    def origin(self, mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
        """What a run keeps of the weights that it began with, as JSON has it.

        params_sha256 is that in the results of the run that made them, or of the tensors where the file does not say.

        Args:
          mean, std: [c], of the new training pixels divided by 255: images are normalised by them where it is not known
            by which the encoder was trained.
        """
        known = self.description
        return {
            "path": self.path,
            "params_sha256": known.params_sha256 if known else params_sha256(self.tensors),
            "mean": list(known.mean if known else mean),
            "std": list(known.std if known else std),
        }


def check_description(initial: InitialEncoder, name: str, **options: Any) -> None:
    """Refuse an encoder that was made with other fields of the config than one called `name`.

    Args:
      options: stem and width, which count where the encoder takes them.

    Raises:
      UserError: a field differs.
    """
    description = initial.description
    if description is None:
        return
    there, here = description._asdict() | {"name": description.model}, {"name": name, **options}
    # An encoder of the user's own may have been moved; its arrays show whether it is the same.
    by_name = ["name"] if ENCODERS.keys() & {description.model, name} else []
    found = [
        f"model.{field} is {there[field]!r} there and {here[field]!r} here"
        for field in (*by_name, *(option for option in options if takes(name, option)))
        if there[field] != here[field]
    ]
    if found:
        raise UserError(
            f"model.init_from is {initial.path}, which holds another encoder ({', '.join(found)}): set the same here, "
            "or begin with another encoder."
        )


def fit_encoder(
    initial: InitialEncoder, model: ContrastiveModel, image_shape: tuple[int, int, int] | None
) -> dict[str, Any] | None:
    """The variables of the encoder of `model` from tensors: "params" and "batch_stats", in numpy.

    A classifier in the file is left out, and so is what else torchvision counts. A ViT's position embedding is resized
    to the images.

    Args:
      image_shape: (h, w, c); None where it is not known yet, which takes the channels of the file for a ResNet, and
        gives None for other encoders.

    Raises:
      UserError: the tensors do not fit the model, or are not finite.
    """
    path, tensors, description = initial
    encoder = model.encoder
    if image_shape is None:
        if not isinstance(encoder, ResNet):
            return None
        first = tensors.get("conv1.weight")
        image_shape = (32, 32, first.shape[1] if first is not None and first.ndim == 4 else 3)
    template = of_encoder(model_shapes(model, image_shape))
    layout = layout_of(encoder)
    tensors = layout.resized(tensors, template, image_shape)
    wrong = mismatches(tensors, template, layout)
    if description and description.image_shape[-1] != image_shape[-1]:
        wrong.insert(0, f"it takes images of {description.image_shape[-1]} channels")
    if wrong:
        raise UserError(
            f"model.init_from is {path}, which does not fit {_described(encoder)} for {image_shape[-1]}-channel images "
            f"({in_brief(wrong)}): give another file, or the model.name, model.stem and model.width that it was made "
            "with."
        )
    variables = encoder_variables(tensors, template, layout)
    if not all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(variables)):
        raise UserError(f"model.init_from is {path}, which holds numbers that are not finite: give another.")
    return variables


def _described(encoder: Any) -> str:
    if isinstance(encoder, ResNet):
        return f"a resnet{encoder.depth} with the stem '{encoder.stem}' and width {encoder.width}"
    return f"the encoder {type(encoder).__name__}"
