"""Encoder and projection head as one trainable model."""

import jax
from flax import linen as nn


class ContrastiveModel(nn.Module):
    """An encoder with a projection head: images [n, h, w, c] -> unit rows [n, d].

    `model.apply(variables, images, train=False)` gives projections, for the contrastive losses; with
    `method="encode"` it gives the encoder's features, for everything else. With `train=True` BatchNorm uses
    the statistics of the batch and updates the running ones: pass `mutable=["batch_stats"]`.

    Attributes:
      encoder: a module (images, *, train) -> features [n, f], such as `ResNet`.
      head: a module features -> projections [n, d], such as `ProjectionHead`.
    """

    encoder: nn.Module
    head: nn.Module

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        return self.head(self.encode(images, train=train))

    def encode(self, images: jax.Array, *, train: bool) -> jax.Array:
        """The encoder's features [n, f], in at least float32."""
        return self.encoder(images, train=train)
