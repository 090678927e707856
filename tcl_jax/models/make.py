"""Models by name, and the checks that turn a wrong choice into one clear sentence."""

import jax.numpy as jnp
from jax.typing import DTypeLike

from tcl_jax.errors import UserError
from tcl_jax.models.contrastive import ContrastiveModel
from tcl_jax.models.heads import LinearClassifier, ProjectionHead
from tcl_jax.models.resnet import DEPTHS, STEMS, ResNet

_DEPTH_OF_NAME = {f"resnet{depth}": depth for depth in DEPTHS}
MODEL_NAMES = tuple(_DEPTH_OF_NAME)

# Side of the smallest image, in pixels: the one that the last stage sees as a single pixel.
_SMALLEST_SIDE = {"cifar": 8, "imagenet": 32}


def make_model(
    name: str,
    *,
    stem: str,
    width: int,
    projection_dim: int,
    num_classes: int | None = None,
    axis_name: str | None = None,
    dtype: DTypeLike | None = None,
    param_dtype: DTypeLike = jnp.float32,
    remat: bool = False,
) -> ContrastiveModel:
    """The model called `name`: a ResNet with a projection head, or with a classifier for cross-entropy.

    Args:
      name: one of `MODEL_NAMES`: "resnet18", "resnet34", "resnet50", "resnet101".
      stem: "cifar" for small images, "imagenet" for large ones.
      width: channels of the first stage, at least 1; 64 is the papers'.
      projection_dim: length of a projection, at least 1; 128 is the papers'.
      num_classes: given, the head is a linear classifier of so many classes instead.
      axis_name: the mapped axis over which BatchNorm shares its statistics; None keeps each device's own.
      dtype: compute dtype of the encoder; None is `param_dtype`.
      param_dtype: dtype of parameters and statistics.
      remat: compute each residual block again in the backward pass, instead of keeping its activations.

    Raises:
      UserError: an unknown name or stem, a width or projection_dim below 1.
    """
    if name not in _DEPTH_OF_NAME:
        raise UserError(f"there is no model {name!r}: choose one of {', '.join(MODEL_NAMES)}")
    _check_stem(stem)
    for setting, value in (("width", width), ("projection_dim", projection_dim)):
        if value < 1:
            raise UserError(f"{setting} is {value}, but must be at least 1: choose a positive {setting}")
    encoder = ResNet(_DEPTH_OF_NAME[name], stem, width, axis_name, dtype, param_dtype, remat)
    if num_classes is not None:
        return ContrastiveModel(encoder, LinearClassifier(num_classes, param_dtype))
    return ContrastiveModel(encoder, ProjectionHead(projection_dim, param_dtype))


def check_image_size(height: int, width: int, *, stem: str) -> None:
    """Refuses images too small for a stem: below 8 pixels a side for "cifar", below 32 for "imagenet".

    Raises:
      UserError: a side that is too small, or an unknown stem.
    """
    _check_stem(stem)
    smallest = _SMALLEST_SIDE[stem]
    if min(height, width) < smallest:
        remedy = "use larger images" if stem == "cifar" else 'use the stem "cifar" or larger images'
        raise UserError(
            f"images of {height}x{width} pixels are too small for the stem {stem!r}, "
            f"which needs at least {smallest}x{smallest}: {remedy}"
        )


def _check_stem(stem: str) -> None:
    if stem not in STEMS:
        raise UserError(f"there is no stem {stem!r}: choose one of {', '.join(STEMS)}")
