"""Encoder weights to begin a training with, from a file."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from tcl_jax.errors import UserError
from tcl_jax.models.contrastive import ContrastiveModel
from tcl_jax.models.layout import encoder_variables, in_brief, mismatches, of_encoder
from tcl_jax.models.make import model_shapes
from tcl_jax.models.resnet import ResNet
from tcl_jax.models.torchvision import layout_of


def fit_encoder(
    tensors: Mapping[str, np.ndarray],
    model: ContrastiveModel,
    image_shape: tuple[int, int, int] | None,
    *,
    path: str,
) -> dict[str, Any] | None:
    """The variables of the encoder of `model` from the tensors of a file: "params" and "batch_stats", in numpy.

    A classifier in the file is left out, and so is what else torchvision counts. A ViT's position embedding is resized
    to the images.

    Args:
      image_shape: (h, w, c); None where it is not known yet, which takes the channels of the file for a ResNet, and
        gives None for other encoders.
      path: the file, for messages.

    Raises:
      UserError: the tensors do not fit the model, or are not finite.
    """
    encoder = model.encoder
    if image_shape is None:
        if not isinstance(encoder, ResNet):
            return None
        first = tensors.get("conv1.weight")
        image_shape = (32, 32, first.shape[1] if first is not None and first.ndim == 4 else 3)
    template = of_encoder(model_shapes(model, image_shape))
    layout = layout_of(encoder)
    tensors = layout.resized(tensors, template, image_shape)
    if wrong := mismatches(tensors, template, layout):
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
