"""Encoder and head as one trainable model."""

import jax
from flax import linen as nn


class ContrastiveModel(nn.Module):
    """An encoder with a head: images [n, h, w, c] -> what the loss takes [n, d].

    `model.apply(variables, images, train=False)` gives projections (unit rows) for the contrastive losses, or
    logits for cross-entropy; with `method="encode"` it gives the encoder's features, for everything else. With
    `train=True` BatchNorm uses the statistics of the batch and updates the running ones: pass
    `mutable=["batch_stats"]`.

    Attributes:
      encoder: a module (images, *, train) -> features [n, f], such as `ResNet`.
      head: a module features -> [n, d], `ProjectionHead` or `LinearClassifier`.
    """

    encoder: nn.Module
    head: nn.Module

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        return self.head(self.encode(images, train=train))

    def encode(self, images: jax.Array, *, train: bool) -> jax.Array:
        """The encoder's features [n, f], in at least float32."""
        return self.encoder(images, train=train)

    def apply_head(self, features: jax.Array) -> jax.Array:
        """What the head makes of features [n, f]."""
        return self.head(features)
