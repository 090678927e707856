"""Image encoders, the heads on top of them, and `make_model`, which joins the two."""

from tcl_jax.models.contrastive import ContrastiveModel, params_sha256
from tcl_jax.models.convnext import ConvNeXt
from tcl_jax.models.encode import make_encode
from tcl_jax.models.heads import LinearClassifier, ProjectionHead
from tcl_jax.models.make import (
    ENCODERS,
    check_model,
    compute_dtype,
    make_encoder,
    make_model,
    model_shapes,
    takes,
    with_head,
)
from tcl_jax.models.resnet import STEMS, ResNet
from tcl_jax.models.vit import ViT

__all__ = [
    "ENCODERS",
    "STEMS",
    "ContrastiveModel",
    "ConvNeXt",
    "LinearClassifier",
    "ProjectionHead",
    "ResNet",
    "ViT",
    "check_model",
    "compute_dtype",
    "make_encode",
    "make_encoder",
    "make_model",
    "model_shapes",
    "params_sha256",
    "takes",
    "with_head",
]
