"""Image encoders, the heads on top of them, and `make_model`, which joins the two."""

from tcl_jax.models.contrastive import ContrastiveModel
from tcl_jax.models.heads import LinearClassifier, ProjectionHead
from tcl_jax.models.make import MODEL_NAMES, check_image_size, make_model
from tcl_jax.models.resnet import STEMS, ResNet

__all__ = [
    "MODEL_NAMES",
    "STEMS",
    "ContrastiveModel",
    "LinearClassifier",
    "ProjectionHead",
    "ResNet",
    "check_image_size",
    "make_model",
]
