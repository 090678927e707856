"""Features of every example of a split, by the frozen encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jax.sharding import Mesh

from tcl_jax.data import Split, padded_batches
from tcl_jax.evaluate.arguments import check_split
from tcl_jax.models.encode import Encode
from tcl_jax.parallel import local_rows, split_batch

if TYPE_CHECKING:
    from jaxtyping import Float


def extract_features(
    encode: Encode, variables: Mapping[str, Any], split: Split, *, batch_size: int, mesh: Mesh
) -> Float[np.ndarray, "n f"]:
    """Encoder features (not projections) of all images as they are, without augmentation: float [n, f].

    Args:
      encode: from `tcl_jax.models.make_encode`.
      variables: of the model; they are not changed.
      batch_size: images at a time over all devices, a multiple of their number; the last batch is padded.

    Raises:
      ValueError: the split is empty or not one, or the devices do not divide batch_size.
    """
    batch_size = check_split(split, batch_size, mesh)
    features = [
        np.asarray(encode(variables, split_batch(batch.images, mesh)))
        for batch in padded_batches(split, batch_size, rows=local_rows(batch_size, mesh))
    ]
    return np.concatenate(features)[: len(split.labels)]
