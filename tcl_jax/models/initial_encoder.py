"""Encoder weights to begin a training with, from a file."""

from typing import Any

import jax
import numpy as np
from etils import epath

from tcl_jax.errors import UserError
from tcl_jax.models import make_model
from tcl_jax.models.tensor_file import read_tensors
from tcl_jax.models.torchvision import encoder_template, encoder_variables, in_brief, mismatches


def read_initial_encoder(
    path: str, *, name: str, stem: str, width: int, channels: int | None
) -> dict[str, Any]:
    """The variables of an encoder in a file with torchvision's names: "params" and "batch_stats", in numpy.

    A classifier in the file, fc.weight and fc.bias, is left out, and so is what else torchvision counts.

    Args:
      name, stem, width: of the model.
      channels: of the images; None takes those of the file.

    Raises:
      UserError: the file cannot be read, does not fit the model, or holds numbers that are not finite.
    """
    tensors = read_tensors(epath.Path(path).expanduser()).tensors
    if channels is None:
        first = tensors.get("conv1.weight")
        channels = first.shape[1] if first is not None and first.ndim == 4 else 3
    template = encoder_template(make_model(name, stem=stem, width=width, projection_dim=1), channels=channels)
    if wrong := mismatches(tensors, template):
        raise UserError(
            f"model.init_from is {path}, which does not fit a {name} with the stem '{stem}' and width {width} for "
            f"{channels}-channel images ({in_brief(wrong)}): give another file, or the model.name, model.stem and "
            "model.width that it was made with."
        )
    variables = encoder_variables(tensors, template)
    if not all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(variables)):
        raise UserError(f"model.init_from is {path}, which holds numbers that are not finite: give another.")
    return variables
