"""Encoder and head as one trainable model."""

import hashlib
import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn


class ContrastiveModel(nn.Module):
    """An encoder with a head: images [n, h, w, c] -> what the loss takes [n, d].

    `model.apply(variables, images, train=False)` gives projections (unit rows) for the contrastive losses, or
    logits for cross-entropy; with `method="encode"` it gives the encoder's features, for everything else. With
    `train=True` BatchNorm, where there is one, uses the statistics of the batch and updates the running ones: pass
    `mutable=["batch_stats"]`.

    Attributes:
      encoder: a module (images) or (images, train) -> features [n, f], such as `ResNet`.
      head: a module features -> [n, d], `ProjectionHead` or `LinearClassifier`.
    """

    encoder: nn.Module
    head: nn.Module

    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        return self.head(self.encode(images, train=train))

    def with_features(self, images: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """What the loss takes [n, d], and the encoder's features [n, f] that it is made of."""
        features = self.encode(images, train=train)
        return self.head(features), features

    def encode(self, images: jax.Array, *, train: bool) -> jax.Array:
        """The encoder's features [n, f], in at least float32."""
        takes_train = "train" in inspect.signature(type(self.encoder).__call__).parameters
        features = self.encoder(images, train=train) if takes_train else self.encoder(images)
        return features.astype(jnp.promote_types(features.dtype, jnp.float32))

    def apply_head(self, features: jax.Array) -> jax.Array:
        """What the head makes of features [n, f]."""
        return self.head(features)


def params_sha256(variables: Mapping[str, Any]) -> str:
    """SHA-256 of parameters and running statistics, to compare runs of one config to the last bit.

    Over all leaves sorted by key path: the path (as in "params/encoder/conv1/kernel", UTF-8) followed by the array's
    little-endian bytes in row-major order.
    """
    leaves = {
        "/".join(str(entry.key) for entry in path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_flatten_with_path(jax.device_get(dict(variables)))[0]
    }
    digest = hashlib.sha256()
    for path in sorted(leaves):
        array = leaves[path]
        digest.update(path.encode())
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()
